#ifndef NANDU_SPECIAL_FUNCTION_UNIT_TOP_HPP
#define NANDU_SPECIAL_FUNCTION_UNIT_TOP_HPP

#include "special_functions.hpp"

namespace nandu {

typedef ap_uint<90> job_payload_t;
typedef ap_uint<32 * ELEMENTS> wide_payload_t;
typedef ap_uint<8 * ELEMENTS> byte_payload_t;

}  // namespace nandu

// Does so many jobs. Scalar registers begin with 0; streams as in docs/special-functions.md.
void special_function_unit(nandu::count_t jobs, hls::stream<nandu::job_payload_t>& i_job,
                           hls::stream<nandu::wide_payload_t>& i_a,
                           hls::stream<nandu::wide_payload_t>& i_b,
                           hls::stream<nandu::wide_payload_t>& o,
                           hls::stream<nandu::byte_payload_t>& o_byte);

#endif

// What the units of the matrix engine do for a linear layer of a certain shape.
#ifndef NANDU_PRODUCT_HPP
#define NANDU_PRODUCT_HPP

#include "engine_config.hpp"

namespace nandu {

// Of each unit: passes, beats, rows with scales, and strips whose rows come out.
struct Product {
    int inputs, columns, columns_in_group, tiles, words;
    int passes[CHAINS], beats[CHAINS], scales[CHAINS], strips[CHAINS];
};

}  // namespace nandu

#endif

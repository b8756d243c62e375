// nft-expression.h: converts one rule expression of nft-types.ts to libnftnl's expression.
// Limits: only the expressions that cleat uses; the kernel checks registers and lengths when they are sent.
#pragma once

#include <napi.h>

#include <memory>

#include "../node/input.h"

struct nftnl_expr;

namespace cleat {

struct NftExpressionFree {
  void operator()(nftnl_expr* expression) const;
};
using NftExpression = std::unique_ptr<nftnl_expr, NftExpressionFree>;

// Returns null if the object is invalid: the fault is in `input`.
NftExpression ReadExpression(Input& input, Napi::Object object);

}  // namespace cleat

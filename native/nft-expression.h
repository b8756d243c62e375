// nft-expression.h: one rule expression of nft-types.ts as libnftnl's expression.
// Limits: the expressions cleat uses; what the kernel thinks of registers and lengths is found out by sending them.
#pragma once

#include <napi.h>

#include <memory>

#include "input.h"

struct nftnl_expr;

namespace cleat {

struct NftExpressionFree {
  void operator()(nftnl_expr* expression) const;
};
using NftExpression = std::unique_ptr<nftnl_expr, NftExpressionFree>;

// Null when the object makes no sense: the fault is in `input`.
NftExpression ReadExpression(Input& input, Napi::Object object);

}  // namespace cleat

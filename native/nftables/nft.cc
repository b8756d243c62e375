// nft.cc: Outside.nft, one nf_tables transaction (nft-batch.h does the work).
#include "nft.h"

#include <memory>

#include "../node/input.h"
#include "nft-batch.h"

namespace cleat {
namespace {

class CommitJob : public Job {
 public:
  using Job::Job;
  Failure Execute(Worker& worker) override { return batch.Commit(worker.nfnl()); }

  NftBatch batch;
};

}  // namespace

Napi::Value NftCommit(const Napi::CallbackInfo& info, Worker& worker) {
  const Napi::Env env = info.Env();
  Input input(env);
  auto job = std::make_unique<CommitJob>(env);
  for (Napi::Value operation : input.Items(info[0], "operations")) {
    Napi::HandleScope scope(env);
    job->batch.Add(input, input.Object(operation, "operation"));
    if (!input.ok()) break;
  }
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::move(job));
}

}  // namespace cleat

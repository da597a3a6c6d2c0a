"""KServe's Open Inference Protocol, version 2, over REST and gRPC: one reading of requests, one writing of answers."""

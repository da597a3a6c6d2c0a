"""The simulated channel: from transmitted symbols to received ones, as a gRPC proxy between the edge and the cloud."""

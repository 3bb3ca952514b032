//! The embedded Kinesis: a sharded, durable log behind the AWS JSON protocol

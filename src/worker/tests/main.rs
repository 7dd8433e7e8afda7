//! The worker as its users run it: the binary, against servers of this process that misbehave on request, judged by
//! exit code, report and the bytes of the disk. References are made by `qemu-img`.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as loudly as the tests")]

mod allocation;
mod archives;
mod artifacts;
mod block;
mod bounds;
mod convert;
mod device;
mod faults;
mod formats;
mod hostile;
mod http;
mod jobs;
mod killed;
mod layers;
mod reach;
mod reading;
mod redirects;
mod registry;
mod repository;
mod resumed;
mod s3;
mod server;
mod support;
mod tls;

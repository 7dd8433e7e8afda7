//! Images that claims of another namespace use: only where a grant says so, and without anything of the image's namespace
//! getting into the claim's but the bytes of the disk.

mod lab;
mod refusal;
mod secret;
mod worker;

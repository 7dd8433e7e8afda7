#![no_main]

use vmdisk_corpus::Target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| vmdisk_fuzz::wrapping(Target::Xz, input));

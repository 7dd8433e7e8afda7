use super::*;

const CLUSTER: usize = 65536;

fn content() -> Vec<u8> {
    (0..CLUSTER).map(|at| u8::try_from(at / 100 % 251).unwrap()).collect()
}

fn compressed(codec: Codec, content: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut out = vec![0; compressor.zlib_compress_bound(content.len())];
    match codec {
        Codec::Deflate => {
            let length = compressor.deflate_compress(content, &mut out).unwrap();
            out.truncate(length);
            out
        }
        Codec::Zlib => {
            let length = compressor.zlib_compress(content, &mut out).unwrap();
            out.truncate(length);
            out
        }
        Codec::Zstd => zstd::bulk::compress(content, 3).unwrap(),
    }
}

fn inflate(codec: Codec, data: &[u8], length: usize) -> Result<Vec<u8>, Refusal> {
    let cluster = CompressedCluster {
        format: Format::Vmdk,
        offset: 0,
        cluster_size: CLUSTER,
        length,
        data,
        codec,
        image_offset: 1000,
    };
    match Inflater::new().inflate(&cluster) {
        Ok(data) => Ok(data.to_vec()),
        Err(Error::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_follows_the_stream_does_not_matter() {
    for codec in [Codec::Deflate, Codec::Zstd, Codec::Zlib] {
        let exact = compressed(codec, &content());
        for tail in [0_u8, 0xff, 0x28] {
            let mut data = exact.clone();
            data.extend([tail; 600]);
            assert_eq!(inflate(codec, &data, CLUSTER).unwrap(), content(), "{codec:?}, tail {tail}");
        }
        assert_eq!(inflate(codec, &exact, 700).unwrap(), content()[..700], "{codec:?}");
    }
}

#[test]
fn anything_but_one_cluster_is_refused() {
    for codec in [Codec::Deflate, Codec::Zstd, Codec::Zlib] {
        let mut long = content();
        long.push(1);
        let whole = compressed(codec, &content());
        for (case, data) in [
            ("cut", whole[..whole.len() / 2].to_vec()),
            ("empty", Vec::new()),
            ("garbage", vec![0xee; 512]),
            ("short", compressed(codec, &content()[1..])),
            ("long", compressed(codec, &long)),
        ] {
            let refusal = inflate(codec, &data, CLUSTER).unwrap_err();
            assert_eq!(refusal.reason, Reason::BadData, "{codec:?} {case}");
            assert!(refusal.found.contains("offset 1000"), "{refusal}");
            if case == "short" {
                let end = inflate(codec, &data, CLUSTER - 1).expect("the end of a disk");
                assert_eq!(end, content()[1..], "{codec:?}");
            }
        }
    }
}

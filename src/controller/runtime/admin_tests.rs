use std::io::Error;

use super::*;

#[test]
fn a_kernel_without_ipv6_is_listened_on_all_the_same() {
    let taken = || Error::from(ErrorKind::AddrInUse);
    let unavailable = || Error::from(ErrorKind::AddrNotAvailable);
    for (address, error, expected) in [
        ("[::]:8080", Error::from_raw_os_error(97), Some("0.0.0.0:8080")),
        ("[::]:8081", unavailable(), Some("0.0.0.0:8081")),
        ("[::]:8080", taken(), None),
        // Who names an address means that one.
        ("[::1]:8080", unavailable(), None),
        ("127.0.0.1:8080", unavailable(), None),
    ] {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(without_ipv6(address.parse().unwrap(), &error), expected, "{address}: {error}");
    }
}

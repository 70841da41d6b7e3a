//! Which addresses are on the open internet.
//!
//! What cannot be told: an address of the open internet that a network translates to a private one by a prefix of its
//! own (RFC 6052), and public addresses of this very machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks that no public host is in, with the length of their prefix.
const NOT_PUBLIC_4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier's translation; some clouds' metadata
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host, from inside Azure
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local; metadata of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24),  // AMT
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(192, 175, 48, 0), 24),  // AS112
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, and broadcast
];

/// The part of IPv6 that is routed, without which mapped, compatible, local and multicast addresses all fall away.
const ROUTED_6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks of the routed part that no public host is in, or that carry an IPv4 address of any kind.
const NOT_PUBLIC_6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo, benchmarks, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// An IPv4 address in its last four bytes, as a network without IPv4 writes it (NAT64). It is as public as that is.
const TRANSLATED: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Where a host that may be private may be besides.
const PRIVATE_4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];
const PRIVATE_6: &[(Ipv6Addr, u32)] = &[(Ipv6Addr::LOCALHOST, 128), (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)];

/// Metadata services inside the private blocks: they hand the machine's own credentials to whoever asks.
const METADATA_4: &[Ipv4Addr] = &[Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32), // AWS: of the instance and of pods
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !any_4(NOT_PUBLIC_4, address),
        IpAddr::V6(address) if within_6(TRANSLATED, address) => !any_4(NOT_PUBLIC_4, last_four(address)),
        IpAddr::V6(address) => within_6(ROUTED_6, address) && !any_6(NOT_PUBLIC_6, address),
    }
}

/// For hosts that the operator lets be private: never link-local, a metadata service, unspecified or multicast.
pub(super) fn may_be_private(address: IpAddr) -> bool {
    let private = match address {
        IpAddr::V4(address) => any_4(PRIVATE_4, address) && !METADATA_4.contains(&address),
        IpAddr::V6(address) => any_6(PRIVATE_6, address) && !any_6(METADATA_6, address),
    };
    private || is_public(address)
}

fn any_4(blocks: &[(Ipv4Addr, u32)], address: Ipv4Addr) -> bool {
    blocks.iter().any(|(base, length)| (base.to_bits() ^ address.to_bits()) >> (32 - length) == 0)
}

fn any_6(blocks: &[(Ipv6Addr, u32)], address: Ipv6Addr) -> bool {
    blocks.iter().any(|block| within_6(*block, address))
}

fn within_6((base, length): (Ipv6Addr, u32), address: Ipv6Addr) -> bool {
    (base.to_bits() ^ address.to_bits()) >> (128 - length) == 0
}

fn last_four(address: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    /// The first and the last of each block, and what lies beside it.
    #[test]
    fn public_ends_where_a_block_begins() {
        let edges = [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.31.196.0", "192.31.196.255", Some("192.31.195.255"), Some("192.31.197.0")),
            ("192.52.193.0", "192.52.193.255", Some("192.52.192.255"), Some("192.52.194.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("192.175.48.0", "192.175.48.255", Some("192.175.47.255"), Some("192.175.49.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2000::")),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000:ffff::"), Some("2001:200::")),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:db7::"), Some("2001:db9::")),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:ffff::"), Some("2003::")),
            ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", Some("2620:4f:7fff::"), Some("2620:4f:8001::")),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3ffe::"), Some("3fff:1000::")),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3fff:ffff::"), None),
        ];
        for (first, last, before, after) in edges {
            assert!(!is_public(at(first)) && !is_public(at(last)), "{first} to {last}");
            assert!(before.into_iter().chain(after).all(|beside| is_public(at(beside))), "beside {first}");
        }
    }

    #[test]
    fn providers_are_public() {
        for public in ["8.8.8.8", "104.18.6.192", "2606:4700::6812:7c0", "2a00:1450:4001:81c::200a", "64:ff9b::808:808"]
        {
            assert!(is_public(at(public)), "{public}");
        }
    }

    /// What hands out the machine's credentials, or is nobody's address, whatever the operator writes.
    const NEVER: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "169.254.170.2",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "febf::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "::a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2002:7f00:1::",
        "2001::5601:5601",
        "fec0::1",
    ];

    #[test]
    fn private_hosts_are_private_and_no_more() {
        for private in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "::1", "fd12::1", "fc00::1"]
        {
            assert!(may_be_private(at(private)) && !is_public(at(private)), "{private}");
        }
        assert!(may_be_private(at("8.8.8.8")), "it may be public, too");
        for never in NEVER {
            assert!(!may_be_private(at(never)) && !is_public(at(never)), "{never}");
        }
    }

    fn private_4() -> impl Strategy<Value = Ipv4Addr> {
        (0..NOT_PUBLIC_4.len(), any::<u32>()).prop_map(|(block, bits)| {
            let (base, length) = NOT_PUBLIC_4[block];
            Ipv4Addr::from_bits(base.to_bits() | bits.checked_shr(length).unwrap_or(0))
        })
    }

    proptest! {
        #[test]
        fn no_way_of_carrying_a_private_address_is_public(private in private_4(), rest: u64) {
            let bits = u128::from(private.to_bits());
            let rest = u128::from(rest);
            let carriers = [
                bits,                                                                   // compatible
                0xffff << 32 | bits,                                                    // mapped
                0xffff << 48 | bits,                                                    // translated, of old
                0x0064_ff9b << 96 | bits,                                               // NAT64
                0x0064_ff9b_0001 << 80 | rest << 32 & ((1 << 80) - 1) | bits,           // NAT64 of one's own
                0x2002 << 112 | bits << 80 | rest,                                      // 6to4
                0x2001_0000 << 96 | bits << 64 | rest,                                  // Teredo, the server
                0x2001_0000 << 96 | rest << 32 | (bits ^ 0xffff_ffff),                  // Teredo, the client
                0xfe80 << 112 | 0x5efe << 32 | bits,                                    // ISATAP
            ];
            prop_assert!(!is_public(private.into()));
            for carrier in carriers {
                prop_assert!(!is_public(Ipv6Addr::from_bits(carrier).into()), "{}", Ipv6Addr::from_bits(carrier));
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_is_not_public(address: u32, other: u128) {
            let four = Ipv4Addr::from_bits(address);
            let special = four.is_private() || four.is_loopback() || four.is_link_local() || four.is_multicast()
                || four.is_broadcast() || four.is_documentation() || four.is_unspecified();
            prop_assert!(!(special && is_public(four.into())));
            let six = Ipv6Addr::from_bits(other);
            let special = six.is_unique_local() || six.is_unicast_link_local() || six.is_multicast() || six.is_loopback();
            prop_assert!(!(special && is_public(six.into())));
        }
    }
}

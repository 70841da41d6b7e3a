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
const METADATA_6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
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
        IpAddr::V6(address) => any_6(PRIVATE_6, address) && !METADATA_6.contains(&address),
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

//! What a request says, as one value: two requests that say the same have the same, whichever transport and whichever
//! memory they came through.
//!
//! ```text
//!   digest(message) = SHA-256( for each field: u32 number ‖ u64 length ‖ value, ending with its maps )
//!   value           = the field's bytes as protobuf writes them; for a message, its digest; for a map, its entries' digests
//!                     in order of their bytes: protobuf leaves it open how a map is written
//!   request         = SHA-256( text(rpc) ‖ digest(message) )
//! ```

use std::collections::BTreeMap;

use prost::Message;
use prost::bytes::Buf as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::MessageDescriptor;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::rpc::Rpc;
use crate::crypto::put_text;
use crate::vault::{Error, RequestDigest};

pub fn of(rpc: &Rpc, message: &impl Message) -> Result<RequestDigest, Error> {
    // Of the right length from the start: a vector that grows leaves copies behind.
    let encoded = Zeroizing::new(message.encode_to_vec());
    let digest = digest(&rpc.request, &encoded).ok_or_else(|| Error::bug("our own encoding cannot be read"))?;
    let mut name = Vec::new();
    put_text(&mut name, &rpc.name);
    Ok(RequestDigest(Sha256::new().chain_update(name).chain_update(digest).finalize().into()))
}

fn digest(message: &MessageDescriptor, mut encoded: &[u8]) -> Option<[u8; 32]> {
    let mut whole = Sha256::new();
    let mut maps: BTreeMap<u32, Vec<[u8; 32]>> = BTreeMap::new();
    while !encoded.is_empty() {
        let (number, wire) = decode_key(&mut encoded).ok()?;
        let start = encoded;
        let length = match wire {
            WireType::Varint => {
                decode_varint(&mut encoded).ok()?;
                let length = start.len() - encoded.len();
                encoded = start;
                length
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut encoded).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let value = encoded.get(..length)?;
        encoded.advance(length);
        let field = message.get_field(number)?;
        match field.kind().as_message() {
            Some(inner) if field.is_map() => maps.entry(number).or_default().push(digest(inner, value)?),
            Some(inner) => put(&mut whole, number, &digest(inner, value)?),
            None => put(&mut whole, number, value),
        }
    }
    for (number, mut entries) in maps {
        entries.sort_unstable();
        put(&mut whole, number, entries.as_flattened());
    }
    Some(whole.finalize().into())
}

fn put(whole: &mut Sha256, number: u32, value: &[u8]) {
    whole.update(number.to_be_bytes());
    whole.update((value.len() as u64).to_be_bytes());
    whole.update(value);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pbjson_types::Struct;

    use super::super::rpc::Rpcs;
    use super::*;
    use crate::pb::v1::{SetupCredentialRequest, UpdateMetadataRequest};

    fn setup(key: &str) -> SetupCredentialRequest {
        let metadata = (0..20).map(|n| (format!("key{n}"), f64::from(n).into())).collect::<Struct>();
        SetupCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            fields: BTreeMap::from([("api_key".to_owned(), key.to_owned().into())]),
            metadata: Some(metadata),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())]),
            ..SetupCredentialRequest::default()
        }
    }

    fn of(rpc: &str, message: &impl Message) -> [u8; 32] {
        super::of(Rpcs::read().unwrap().get(rpc).unwrap(), message).unwrap().0
    }

    /// Metadata's maps are written in an order that differs from one to the next.
    #[test]
    fn the_same_request_has_the_same_digest() {
        let first = of("SetupCredential", &setup("k"));
        for _ in 0..20 {
            assert_eq!(of("SetupCredential", &setup("k")), first);
        }
    }

    #[test]
    fn every_difference_makes_another() {
        let mut seen = vec![of("SetupCredential", &setup("k"))];
        let changes: [fn(&mut SetupCredentialRequest); 9] = [
            |it| it.fields = [("api_key".to_owned(), "l".to_owned().into())].into(),
            |it| it.fields = [("k".to_owned(), "api_key".to_owned().into())].into(),
            |it| it.org = "acm".into(),
            |it| (it.org, it.provider) = ("openai".into(), "acme".into()),
            |it| it.no_probe = true,
            |it| it.labels = [("a".to_owned(), "d".to_owned()), ("c".to_owned(), "b".to_owned())].into(),
            |it| _ = it.labels.remove("c"),
            |it| _ = it.metadata.as_mut().unwrap().fields.insert("key1".into(), 7.0.into()),
            |it| it.metadata = None,
        ];
        for change in changes {
            let mut request = setup("k");
            change(&mut request);
            seen.push(of("SetupCredential", &request));
        }
        assert!((0..seen.len()).all(|i| (0..i).all(|j| seen[i] != seen[j])));
    }

    #[test]
    fn an_empty_request_is_one_too() {
        let empty = UpdateMetadataRequest::default();
        assert_eq!(of("UpdateMetadata", &empty), of("UpdateMetadata", &empty));
    }
}

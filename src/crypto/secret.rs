//! Bytes that must not be seen.

use std::fmt;
use std::sync::Arc;

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret: one heap copy, shared by the cache and every reply that carries it, wiped when the last holder lets go.
/// `Debug` shows the length only; comparison takes the same time wherever the bytes differ.
#[derive(Clone, Default)]
pub struct Secret(Option<Arc<Zeroizing<Box<[u8]>>>>);

impl Secret {
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(Some(Arc::new(Zeroizing::new(bytes.into()))))
    }

    pub fn expose(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }

    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(self.expose()).ok()
    }

    pub fn len(&self) -> usize {
        self.expose().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

/// Generated messages derive it.
impl std::hash::Hash for Secret {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

/// The proto message `strongroom.v1.Secret { bytes value = 1; }`, written by hand so that a reply shares the cache's
/// copy instead of making its own.
impl prost::Message for Secret {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if !self.is_empty() {
            prost::encoding::encode_key(1, WireType::LengthDelimited, buf);
            prost::encoding::encode_varint(self.len() as u64, buf);
            buf.put_slice(self.expose());
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        if tag != 1 {
            return prost::encoding::skip_field(wire_type, tag, buf, ctx);
        }
        let mut value = Vec::new();
        prost::encoding::bytes::merge(wire_type, &mut value, buf, ctx)?;
        *self = Self::new(value);
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        match self.len() {
            0 => 0,
            len => prost::encoding::key_len(1) + prost::encoding::encoded_len_varint(len as u64) + len,
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// REST's form: a secret is the plain text of a JSON string; a JSON document counts as its own text.
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.expose_text().ok_or_else(|| serde::ser::Error::custom("secret is not UTF-8; use gRPC"))?;
        serializer.serialize_str(text)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <Box<serde_json::value::RawValue>>::deserialize(deserializer)?;
        let json: Box<str> = json.into();
        if json.starts_with('"') {
            let text: Zeroizing<String> = Zeroizing::new(
                // serde_json's own message could quote the input.
                serde_json::from_str(&json).map_err(|_| serde::de::Error::custom("not a JSON string"))?,
            );
            return Ok(Self::new(text.as_bytes()));
        }
        Ok(Self::new(json.into_boxed_bytes()))
    }
}

//! Who a ciphertext is, as bytes.

use uuid::Uuid;

use super::{Error, Seal};

/// No name is near this long. Keeps every length inside its prefix.
const PART_MAX: usize = 4096;

/// Who a ciphertext is. A blob opens only under the identity it was sealed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub org: String,
    pub project: String,
    pub provider: String,
    pub name: String,
    pub credential: Uuid,
    pub version: u32,
}

impl Identity {
    /// The canonical encoding. Injective: lengths come before texts and the rest has a fixed size, so no two
    /// identities share their bytes (`acme` + `prod` is not `acmep` + `rod`).
    pub(super) fn canonical(&self, format: u8, seal: Seal) -> Result<Vec<u8>, Error> {
        let texts = [&self.org, &self.project, &self.provider, &self.name];
        if texts.iter().any(|text| text.len() > PART_MAX) {
            return Err(Error::Length);
        }
        let mut bytes = Vec::with_capacity(texts.iter().map(|text| 4 + text.len()).sum::<usize>() + 22);
        for text in texts {
            put_text(&mut bytes, text);
        }
        bytes.extend_from_slice(self.credential.as_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&[format, seal.byte()]);
        Ok(bytes)
    }
}

/// Appends a text with its length before it, so that neighbours cannot trade bytes.
/// Texts are names: who takes them from outside caps them far below the prefix's 4 GiB.
pub fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Short texts over two letters: neighbours that could be confused are likely.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[ab]{0,3}", "\\PC{0,20}"]
    }

    pub fn any_identity() -> impl Strategy<Value = Identity> {
        (text(), text(), text(), text(), any::<[u8; 16]>(), any::<u32>()).prop_map(
            |(org, project, provider, name, credential, version)| Identity {
                org,
                project,
                provider,
                name,
                credential: Uuid::from_bytes(credential),
                version,
            },
        )
    }

    pub fn any_seal() -> impl Strategy<Value = Seal> {
        prop_oneof![Just(Seal::Aes256Gcm), Just(Seal::Fernet)]
    }

    /// What injective means: the identity can be read back.
    fn decode(bytes: &[u8]) -> (Identity, u8, u8) {
        fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
            let (head, tail) = bytes.split_at(n);
            *bytes = tail;
            head
        }
        fn number(bytes: &mut &[u8]) -> u32 {
            u32::from_be_bytes(take(bytes, 4).try_into().unwrap())
        }
        let mut rest = bytes;
        let mut texts = [(); 4].map(|()| {
            let length = number(&mut rest) as usize;
            String::from_utf8(take(&mut rest, length).to_vec()).unwrap()
        });
        let [org, project, provider, name] = texts.each_mut().map(std::mem::take);
        let credential = Uuid::from_slice(take(&mut rest, 16)).unwrap();
        let version = number(&mut rest);
        let &[format, seal] = rest else { panic!("{} bytes left", rest.len()) };
        (Identity { org, project, provider, name, credential, version }, format, seal)
    }

    proptest! {
        #[test]
        fn canonical_is_injective(identity in any_identity(), format: u8, seal in any_seal()) {
            let bytes = identity.canonical(format, seal).unwrap();
            prop_assert_eq!(decode(&bytes), (identity, format, seal.byte()));
        }

        #[test]
        fn two_identities_never_share_bytes(
            (a, b) in (text(), text(), text(), text(), text(), text(), text(), text()).prop_map(|t| {
                let identity = |org, project, provider, name| Identity {
                    org, project, provider, name, credential: Uuid::nil(), version: 1,
                };
                (identity(t.0, t.1, t.2, t.3), identity(t.4, t.5, t.6, t.7))
            })
        ) {
            let same = a.canonical(1, Seal::Fernet).unwrap() == b.canonical(1, Seal::Fernet).unwrap();
            prop_assert_eq!(same, a == b);
        }
    }

    #[test]
    fn an_absurd_name_is_refused() {
        let name = "x".repeat(PART_MAX + 1);
        let identity = Identity {
            org: name,
            project: String::new(),
            provider: String::new(),
            name: String::new(),
            credential: Uuid::nil(),
            version: 1,
        };
        assert_eq!(identity.canonical(1, Seal::Aes256Gcm), Err(Error::Length));
    }
}

//! Secrets that nobody has issued, and the search for what is left of them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use data_encoding::{HEXLOWER, HEXUPPER};

/// What is left of a secret counts from this many bytes on. By chance it happens once in 10^21 places.
const TRACE: usize = 12;

/// Letters and digits that were never seen before; a digit now and then, as keys have them.
pub fn random(length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefgh";
    let mut bytes = vec![0_u8; length];
    getrandom::fill(&mut bytes).unwrap();
    let letter =
        |(at, byte): (usize, &u8)| if at % 6 == 5 { '7' } else { char::from(ALPHABET[usize::from(byte % 32)]) };
    bytes.iter().enumerate().map(letter).collect()
}

/// A secret: text with random parts, which are what is looked for.
#[derive(Clone, Debug)]
pub struct Canary {
    pub text: String,
    pub parts: Vec<Vec<u8>>,
    /// The registry tells from its look that it is a secret.
    pub known: bool,
}

impl Canary {
    /// `SECRET` in a shape becomes something new each time.
    fn of_shape(shape: &str, lengths: &[usize]) -> Self {
        let (mut text, mut parts) = (shape.to_owned(), Vec::new());
        for length in lengths {
            let part = random(*length);
            text = text.replacen("SECRET", &part, 1);
            parts.push(part.into_bytes());
        }
        Self { text, parts, known: shape != "SECRET" }
    }

    pub fn openai() -> Self {
        Self::of_shape("sk-proj-SECRETT3BlbkFJSECRET", &[58, 58])
    }

    /// Recognised, and refused everywhere but where fields are free.
    pub fn anthropic() -> Self {
        Self::of_shape("sk-ant-api03-SECRET", &[80])
    }

    pub fn cloudflare() -> Self {
        Self::of_shape("cfut_SECRET0a1b2c3d", &[40])
    }

    /// One like this, with parts of its own.
    pub fn another(&self) -> Self {
        let mut other = self.clone();
        for part in &mut other.parts {
            let fresh = random(part.len());
            other.text = other.text.replace(std::str::from_utf8(part).unwrap(), &fresh);
            *part = fresh.into_bytes();
        }
        other
    }

    /// With provider and field; what else a provider wants is in [`beside`].
    pub fn of_each_provider() -> Vec<(&'static str, &'static str, Self)> {
        vec![
            ("openai", "api_key", Self::openai()),
            ("aws_keys", "secret_access_key", Self::plain(40)),
            ("cloudflare", "api_token", Self::cloudflare()),
            ("saas_generic", "password", Self::plain(24)),
            ("gcp_service_account", "service_account_json", Self::google()),
        ]
    }

    /// Recognised by nobody.
    pub fn plain(length: usize) -> Self {
        Self::of_shape("SECRET", &[length])
    }

    /// A service account's file: its key counts as the text in it and as the bytes that the text stands for.
    pub fn google() -> Self {
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let base64 = data_encoding::BASE64.encode(der.as_ref());
        let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let file = serde_json::json!({
            "type": "service_account",
            "project_id": "acme-analytics",
            "private_key_id": "89abcdef0123456789abcdef0123456789abcdef",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")),
            "client_email": "etl-reader@acme-analytics.iam.gserviceaccount.com",
            "client_id": "104857600000000000042",
            "token_uri": "https://oauth2.googleapis.com/token",
        });
        // What every key begins with says nothing, and the modulus is the public half; from the private exponent on.
        let private = 320;
        let mut parts: Vec<Vec<u8>> =
            lines[private * 4 / 3 / 64 + 1..].iter().map(|line| line.as_bytes().to_vec()).collect();
        parts.push(der.as_ref()[private..].to_vec());
        Self { text: file.to_string(), parts, known: true }
    }
}

/// The fields that an upload needs besides its secret.
pub fn beside(provider: &str) -> Option<(&'static str, &'static str)> {
    (provider == "aws_keys").then_some(("access_key_id", "AKIAZQ3DRSTUVWXY2345"))
}

/// Finds traces of secrets in bytes: as they are, as an address writes them, in hex, and in base64
/// wherever it begins.
#[derive(Default)]
pub struct Net {
    traces: HashMap<[u8; TRACE], &'static str>,
    /// The first two bytes of some trace: most places are passed by without a look into the map.
    begins: Vec<bool>,
}

impl Net {
    pub fn add(&mut self, canary: &Canary) {
        for part in &canary.parts {
            let bytes = part.as_slice();
            self.form("raw", bytes);
            self.form("hex", HEXLOWER.encode(bytes).as_bytes());
            self.form("hex", HEXUPPER.encode(bytes).as_bytes());
            self.form("url", form_urlencoded::byte_serialize(bytes).collect::<String>().as_bytes());
            for start in 0..3 {
                // The last letters depend on what follows.
                let whole = &bytes[start..start + (bytes.len() - start) / 3 * 3];
                self.form("base64", BASE64_STANDARD_NO_PAD.encode(whole).as_bytes());
                self.form("base64", BASE64_URL_SAFE_NO_PAD.encode(whole).as_bytes());
            }
        }
    }

    fn form(&mut self, name: &'static str, bytes: &[u8]) {
        self.begins.resize(1 << 16, false);
        for window in bytes.windows(TRACE) {
            self.traces.insert(window.try_into().unwrap(), name);
            self.begins[begin(window)] = true;
        }
    }

    /// The first trace: its form and what stands around it, with the trace itself left out.
    pub fn find(&self, haystack: &[u8]) -> Option<String> {
        let hit = |window: &[u8]| {
            if self.begins[begin(window)] { self.traces.get::<[u8; TRACE]>(window.try_into().unwrap()) } else { None }
        };
        let (at, form) = haystack.windows(TRACE).enumerate().find_map(|(at, window)| Some((at, hit(window)?)))?;
        let before = String::from_utf8_lossy(&haystack[at.saturating_sub(160)..at]);
        Some(format!("{form} at byte {at}, after {before:?}"))
    }

    #[track_caller]
    pub fn assert_not_in(&self, place: &str, bytes: &[u8]) {
        if let Some(found) = self.find(bytes) {
            panic!("a secret is in {place}: {found}");
        }
    }
}

fn begin(window: &[u8]) -> usize {
    usize::from(window[0]) << 8 | usize::from(window[1])
}

/// The search finds each form, in any alignment, and a part of a secret as well as the whole.
#[test]
fn the_net_catches() {
    let (canary, other) = (Canary::openai(), Canary::openai());
    let mut net = Net::default();
    net.add(&canary);
    let whole = canary.text.as_bytes();
    for caught in [
        whole.to_vec(),
        whole[20..32].to_vec(),
        whole[whole.len() - TRACE..].to_vec(),
        HEXLOWER.encode(whole).into_bytes(),
        HEXUPPER.encode(&whole[10..40]).into_bytes(),
        BASE64_STANDARD_NO_PAD.encode(whole).into_bytes(),
        BASE64_STANDARD_NO_PAD.encode(&whole[1..]).into_bytes(),
        BASE64_URL_SAFE_NO_PAD.encode([b"x", whole].concat()).into_bytes(),
    ] {
        let around = [&[b'.'; 999], caught.as_slice(), &[b'.'; 999]].concat();
        assert!(net.find(&around).is_some(), "{}", String::from_utf8_lossy(&caught));
    }
    assert_eq!(net.find(other.text.as_bytes()), None);
    assert_eq!(net.find(&whole[20..31]), None, "too short to be sure");
}

//! The cases of `tests/vectors/*.json`, from fixed inputs.

use std::slice;

use data_encoding::{BASE64URL, HEXLOWER};
use strongroom::crypto::{self, Dek, Seal, Secret};

use super::{Case, FORMAT, Identity, Vectors, Verdict, Who, unhex, why};

const HEADER: usize = 66;
const PLAINTEXT: &[u8] = b"sk-vector-1";

/// `stored` is the file as it is: Fernet picks an IV of its own, so a stored body that opens is kept.
pub fn vectors(seal: Seal, stored: Option<&Vectors>) -> Vectors {
    let stored = stored.map(|vectors| [slice::from_ref(&vectors.base), &vectors.cases].concat()).unwrap_or_default();
    let maker = Maker { seal, stored };
    let (dek, blob) = (pattern(1), maker.sealed(pattern(1), pattern(2), &who(), PLAINTEXT));
    let mut base = opens("as it was sealed", who(), &blob, PLAINTEXT);
    base.dek = Some(HEXLOWER.encode(&dek));
    let other = maker.sealed(pattern(1), pattern(4), &who(), PLAINTEXT);
    let refused = Refused { base: &base, blob: &blob, other: &other };
    let mut cases = maker.others_that_open();
    cases.push(opens("another message of the same credential", who(), &other, PLAINTEXT));
    cases.extend(refused.flipped());
    cases.extend(refused.of_unknown_kinds());
    cases.extend(refused.cut_and_extended());
    cases.extend(refused.under_another_key());
    cases.extend(refused.mixed(&maker));
    cases.extend(refused.for_another_identity());
    if seal == Seal::Fernet {
        cases.extend(refused.spelled_otherwise());
    }
    Vectors { about: FORMAT.to_owned(), base, cases }
}

fn who() -> Who {
    Who {
        org: "acme".to_owned(),
        project: "prod".to_owned(),
        provider: "openai".to_owned(),
        name: "default".to_owned(),
        credential: uuid::Uuid::from_bytes(*b"\x01\x93\x5c\x7e\x4b\x2a\x70\x01\x80\x02\x03\x04\x05\x06\x07\x08"),
        version: 7,
    }
}

/// 32 bytes that look like nothing, and are always the same.
fn pattern(seed: u8) -> [u8; 32] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(37).wrapping_add(seed.wrapping_mul(91)))
}

struct Maker {
    seal: Seal,
    stored: Vec<Case>,
}

impl Maker {
    fn sealed(&self, dek: [u8; 32], message_id: [u8; 32], who: &Who, plaintext: &[u8]) -> Vec<u8> {
        let (dek, identity, plaintext) = (Dek::new(dek), Identity::from(who), Secret::new(plaintext));
        let fresh = crypto::seal(self.seal, &dek, message_id, &identity, &plaintext).unwrap();
        let opens = |blob: &Vec<u8>| crypto::open(&dek, &identity, blob).is_ok_and(|opened| opened == plaintext);
        let kept = self.stored.iter().filter_map(|case| case.blob.as_deref()).map(unhex);
        let kept = kept.filter(|blob| self.seal == Seal::Fernet && blob.starts_with(&fresh[..HEADER])).find(opens);
        kept.unwrap_or(fresh)
    }

    fn others_that_open(&self) -> Vec<Case> {
        let every_byte: Vec<u8> = (0..=255).collect();
        let all = |text: &str| Who {
            org: text.to_owned(),
            project: text.to_owned(),
            provider: text.to_owned(),
            name: text.to_owned(),
            ..who()
        };
        let last = Who { credential: uuid::Uuid::max(), version: u32::MAX, ..who() };
        let cases: [(&str, Who, &[u8]); 6] = [
            ("an empty secret", who(), b""),
            ("a secret of one AES block", who(), b"0123456789abcdef"),
            ("a secret of every byte", who(), &every_byte),
            ("an identity of empty texts", all(""), PLAINTEXT),
            ("an identity beyond ASCII", all("Zürich–東京"), PLAINTEXT),
            ("the last id and version", last, PLAINTEXT),
        ];
        let sealed = |(i, (name, who, plaintext)): (usize, (&str, Who, &[u8]))| {
            let blob = self.sealed(pattern(1), pattern(10 + i as u8), &who, plaintext);
            opens(name, who, &blob, plaintext)
        };
        cases.into_iter().enumerate().map(sealed).collect()
    }
}

fn opens(name: &str, who: Who, blob: &[u8], plaintext: &[u8]) -> Case {
    Case {
        name: name.to_owned(),
        changed: None,
        verdict: Verdict::Opens,
        why: None,
        dek: None,
        identity: Some(who),
        blob: Some(HEXLOWER.encode(blob)),
        plaintext: Some(HEXLOWER.encode(plaintext)),
    }
}

/// One thing changed each, and none of them opens.
struct Refused<'a> {
    base: &'a Case,
    blob: &'a [u8],
    other: &'a [u8],
}

impl Refused<'_> {
    fn flipped(&self) -> Vec<Case> {
        let flip = |at: usize| {
            let mut blob = self.blob.to_vec();
            blob[at] ^= 1;
            self.blob(format!("byte {at} flipped"), part(at), blob)
        };
        (0..self.blob.len()).map(flip).collect()
    }

    fn of_unknown_kinds(&self) -> Vec<Case> {
        let with = |at: usize, byte: u8| {
            let mut blob = self.blob.to_vec();
            blob[at] = byte;
            self.blob(format!("{} is {byte:02x}", part(at)), part(at), blob)
        };
        let other_seal = 0x03 - self.blob[1];
        vec![with(0, 0x02), with(0, 0x80), with(0, 0xff), with(1, other_seal), with(1, 0x04), with(1, 0xff)]
    }

    fn cut_and_extended(&self) -> Vec<Case> {
        let end = self.blob.len();
        let cuts = [0, 1, 2, 3, 33, 34, 35, 65, 66, 67, end - 33, end - 32, end - 17, end - 16, end - 15, end - 1];
        let mut cuts: Vec<_> = cuts.into_iter().filter(|length| *length < end).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let cut = |at: usize| self.blob(format!("cut to {at} bytes"), "length", self.blob[..at].to_vec());
        let join = |name: &str, parts: &[&[u8]]| self.blob(name.to_owned(), "length", parts.concat());
        let mut cases: Vec<_> = cuts.into_iter().map(cut).collect();
        cases.extend([
            join("a zero byte after it", &[self.blob, b"\0"]),
            join("a letter after it", &[self.blob, b"A"]),
            join("sixteen zero bytes after it", &[self.blob, &[0; 16]]),
            join("itself after it", &[self.blob, self.blob]),
            join("a zero byte before it", &[b"\0", self.blob]),
            join("a zero byte between header and body", &[&self.blob[..HEADER], b"\0", &self.blob[HEADER..]]),
            join("its first byte gone", &[&self.blob[1..]]),
        ]);
        cases
    }

    fn under_another_key(&self) -> Vec<Case> {
        let mut near = pattern(1);
        near[31] ^= 1;
        let with = |name: &str, dek: [u8; 32]| {
            self.case(name.to_owned(), "data key", |case| case.dek = Some(HEXLOWER.encode(&dek)))
        };
        vec![with("another data key", pattern(3)), with("a data key one bit off", near), with("no data key", [0; 32])]
    }

    /// Parts of blobs that open, put together.
    fn mixed(&self, maker: &Maker) -> Vec<Case> {
        let (header, body) = self.blob.split_at(HEADER);
        let others_key = maker.sealed(pattern(3), pattern(2), &who(), PLAINTEXT);
        let others_id = self.other;
        let join = |name: &str, changed: &str, parts: [&[u8]; 3]| self.blob(name.into(), changed, parts.concat());
        let (fronts, ids, commitments) = (&header[..2], &header[2..34], &header[34..]);
        let mut cases = vec![
            join("no commitment", "commitment", [&header[..34], &[0; 32], body]),
            join("another key's commitment", "commitment", [&header[..34], &others_key[34..HEADER], body]),
            join("another message's id", "message id", [fronts, &others_id[2..34], &self.blob[34..]]),
            join("another message's commitment", "commitment", [&header[..34], &others_id[34..HEADER], body]),
            join("another message's id and commitment", "message id, commitment", [&others_id[..HEADER], body, b""]),
            join("another message's body", "body", [header, &others_id[HEADER..], b""]),
            join("id and commitment swapped", "message id, commitment", [fronts, commitments, &[ids, body].concat()]),
        ];
        // What the commitment is for, were the seal not to commit: it fits, the body must still not open.
        cases.push(self.case("another key, with its commitment".into(), "data key, commitment", |case| {
            case.dek = Some(HEXLOWER.encode(&pattern(3)));
            case.blob = Some(HEXLOWER.encode(&[&others_key[..HEADER], body].concat()));
        }));
        cases
    }

    fn for_another_identity(&self) -> Vec<Case> {
        let with = |name: &str, changed: &str, change: fn(&mut Who)| {
            let mut who = who();
            change(&mut who);
            self.case(name.to_owned(), changed, |case| case.identity = Some(who))
        };
        vec![
            with("another org", "org", |who| who.org = "acme2".into()),
            with("another project", "project", |who| who.project = "staging".into()),
            with("another provider", "provider", |who| who.provider = "anthropic".into()),
            with("another name", "name", |who| who.name = "second".into()),
            with("another credential", "credential", |who| who.credential = uuid::Uuid::from_u128(1)),
            with("no credential", "credential", |who| who.credential = uuid::Uuid::nil()),
            with("an older version", "version", |who| who.version = 6),
            with("a newer version", "version", |who| who.version = 8),
            with("version 0", "version", |who| who.version = 0),
            with("the org in capitals", "org", |who| who.org = "ACME".into()),
            with("a space after the org", "org", |who| who.org = "acme ".into()),
            with("a zero byte after the name", "name", |who| who.name = "default\0".into()),
            with("no project", "project", |who| who.project = String::new()),
            with("org and project swapped", "org, project", |who| std::mem::swap(&mut who.org, &mut who.project)),
            with("project and provider swapped", "project, provider", |who| {
                std::mem::swap(&mut who.project, &mut who.provider);
            }),
            with("provider and name swapped", "provider, name", |who| std::mem::swap(&mut who.provider, &mut who.name)),
            with("a letter from project to org", "org, project", |who| {
                (who.org, who.project) = ("acmep".into(), "rod".into());
            }),
            with("a letter from name to provider", "provider, name", |who| {
                (who.provider, who.name) = ("openaid".into(), "efault".into());
            }),
        ]
    }

    /// The same token to a careless reader of base64.
    fn spelled_otherwise(&self) -> Vec<Case> {
        let (header, body) = self.blob.split_at(HEADER);
        let token = std::str::from_utf8(body).unwrap();
        let bare = token.trim_end_matches('=');
        let with = |name: &str, token: &str| {
            self.blob(name.to_owned(), "the token's spelling", [header, token.as_bytes()].concat())
        };
        let edited = |name: &str, edit: fn(&mut Vec<u8>)| {
            let mut bytes = BASE64URL.decode(body).unwrap();
            edit(&mut bytes);
            self.blob(name.to_owned(), "body", [header, BASE64URL.encode(&bytes).as_bytes()].concat())
        };
        // The last letter before "==" carries four bits that belong to no byte.
        let last = bare.chars().last().unwrap();
        let stray = char::from(last as u8 + 1);
        vec![
            with("without padding", bare),
            with("with half its padding", &format!("{bare}=")),
            with("with more padding", &format!("{token}==")),
            with("with bits of no byte", &format!("{}{stray}==", &bare[..bare.len() - 1])),
            with("with a newline after it", &format!("{token}\n")),
            with("with a space before it", &format!(" {token}")),
            with("with a newline within", &format!("{}\n{}", &token[..40], &token[40..])),
            with("with a letter of no alphabet within", &format!("{}*{}", &token[..40], &token[40..])),
            with("in base64's other alphabet", &(bare[..40].to_owned() + "+/" + &token[42..])),
            edited("token of another version", |bytes| bytes[0] = 0x81),
            edited("token of another time", |bytes| bytes[8] = 1),
            edited("token with another IV", |bytes| bytes[9] ^= 1),
            edited("token without its last block", |bytes| drop(bytes.drain(25..41))),
        ]
    }

    fn blob(&self, name: String, changed: &str, blob: Vec<u8>) -> Case {
        self.case(name, changed, |case| case.blob = Some(HEXLOWER.encode(&blob)))
    }

    /// The verdict is stated here; what is asked of the code is only which check gives it.
    fn case(&self, name: String, changed: &str, change: impl FnOnce(&mut Case)) -> Case {
        let mut case = Case {
            name,
            changed: Some(changed.to_owned()),
            verdict: Verdict::Refused,
            why: None,
            dek: None,
            identity: None,
            blob: None,
            plaintext: None,
        };
        change(&mut case);
        let refusal = case.open(self.base).expect_err(&case.name);
        case.why = Some(why(refusal).to_owned());
        case
    }
}

fn part(at: usize) -> &'static str {
    match at {
        0 => "format version",
        1 => "seal",
        2..34 => "message id",
        34..HEADER => "commitment",
        _ => "body",
    }
}

//! What stands before the payload: stanzas, and a code that proves them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Error, derive};

const VERSION: &[u8] = b"age-encryption.org/v1";
const BEGIN: &[u8] = b"-> ";
const END: &[u8] = b"---";
const HEADER: &[u8] = b"header";
/// A body's line, but the last, is this long.
const COLUMNS: usize = 64;

/// The file key, for one recipient.
#[derive(Clone, Debug)]
pub struct Stanza {
    /// At least one: the kind.
    pub arguments: Vec<String>,
    pub body: Vec<u8>,
}

pub struct Header<'a> {
    pub stanzas: Vec<Stanza>,
    /// What the code is of.
    proven: &'a [u8],
    mac: [u8; 32],
}

impl<'a> Header<'a> {
    /// With the payload.
    pub fn read(file: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let mut rest = file;
        if line(&mut rest)? != VERSION {
            return Err(Error::Header);
        }
        let mut stanzas = Vec::new();
        while !rest.starts_with(END) {
            stanzas.push(stanza(&mut rest)?);
        }
        let proven = &file[..file.len() - rest.len() + END.len()];
        let last = line(&mut rest)?.strip_prefix(END).and_then(|last| last.strip_prefix(b" ")).ok_or(Error::Header)?;
        let mac = decode(last)?.try_into().map_err(|_| Error::Header)?;
        match stanzas.is_empty() {
            true => Err(Error::Header),
            false => Ok((Self { stanzas, proven, mac }, rest)),
        }
    }

    pub fn verify(&self, file_key: &[u8; 16]) -> Result<(), Error> {
        code(file_key, self.proven)?.verify((&self.mac).into()).map_err(|_| Error::Mac)
    }
}

pub fn write(stanza: &Stanza, file_key: &[u8; 16]) -> Result<Vec<u8>, Error> {
    let mut text = [VERSION, b"\n", BEGIN, stanza.arguments.join(" ").as_bytes(), b"\n"].concat();
    // A file key's body is one line, and shorter than a full one.
    let body = STANDARD_NO_PAD.encode(&stanza.body);
    if body.len() >= COLUMNS {
        return Err(Error::Unmade);
    }
    text.extend_from_slice(body.as_bytes());
    text.extend_from_slice(b"\n");
    text.extend_from_slice(END);
    let mac = code(file_key, &text)?.finalize().into_bytes();
    text.extend_from_slice(b" ");
    text.extend_from_slice(STANDARD_NO_PAD.encode(mac).as_bytes());
    text.extend_from_slice(b"\n");
    Ok(text)
}

fn code(file_key: &[u8; 16], proven: &[u8]) -> Result<Hmac<Sha256>, Error> {
    let key = derive(file_key, b"", HEADER)?;
    let mut code = Hmac::<Sha256>::new_from_slice(&*key).map_err(|_| Error::Unmade)?;
    code.update(proven);
    Ok(code)
}

fn stanza(rest: &mut &[u8]) -> Result<Stanza, Error> {
    let first = line(rest)?.strip_prefix(BEGIN).ok_or(Error::Header)?;
    let arguments = first.split(|byte| *byte == b' ').map(argument).collect::<Result<_, Error>>()?;
    let mut body = Vec::new();
    loop {
        let next = line(rest)?;
        if next.len() > COLUMNS {
            return Err(Error::Header);
        }
        body.extend(decode(next)?);
        if next.len() < COLUMNS {
            return Ok(Stanza { arguments, body });
        }
    }
}

fn argument(bytes: &[u8]) -> Result<String, Error> {
    match !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic) {
        true => String::from_utf8(bytes.to_vec()).map_err(|_| Error::Header),
        false => Err(Error::Header),
    }
}

/// In the one canonical spelling.
fn decode(text: &[u8]) -> Result<Vec<u8>, Error> {
    STANDARD_NO_PAD.decode(text).map_err(|_| Error::Header)
}

fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Error::Header)?;
    let (line, after) = (&rest[..end], &rest[end + 1..]);
    *rest = after;
    Ok(line)
}

//! One-time codes: RFC 6238 (TOTP) as authenticator apps speak it. HMAC-SHA-1, six digits, a step of 30 seconds.
//!
//! ```text
//!   step = unix time / 30          mac = HMAC-SHA-1(secret, step as u64 big-endian)
//!   code = (the 4 bytes of mac at its last byte's low nibble, without the first bit) mod 10^6, in six digits
//! ```
//!
//! SHA-1 is broken for collisions, which an HMAC does not rest on; apps that know another hash are few.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::Secret;

/// As RFC 4226 recommends: 160 bits.
pub const SECRET_LENGTH: usize = 20;

pub const STEP_SECONDS: i64 = 30;

/// A code that somebody sent: exactly six ASCII digits.
pub struct Code([u8; DIGITS]);

const DIGITS: usize = 6;

impl Code {
    /// Nothing is trimmed, folded or left out: two spellings of one code would be two codes to whoever counts uses.
    pub fn read(text: &[u8]) -> Option<Self> {
        let digits: [u8; DIGITS] = text.try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }
}

/// The step that a time is in; none before 1970.
pub fn step(unix_seconds: i64) -> Option<u64> {
    u64::try_from(unix_seconds.div_euclid(STEP_SECONDS)).ok()
}

/// The step whose code this is: this one, the one before or the one after, for clocks differ and people are slow. Takes
/// the same time whichever it is.
pub fn matching(secret: &Secret, code: &Code, now: u64) -> Option<u64> {
    let mut found = 0;
    let mut any = subtle::Choice::from(0);
    // The newest last: should two steps have one code, the later one is spent, and with it the earlier.
    for step in [now.saturating_sub(1), now, now.saturating_add(1)] {
        let same = self::code(secret, step).ct_eq(&code.0);
        found.conditional_assign(&step, same);
        any |= same;
    }
    bool::from(any).then_some(found)
}

fn code(secret: &Secret, step: u64) -> Zeroizing<[u8; DIGITS]> {
    // HMAC fills a short key up with zeros to the hash's block, and hashes a longer one, which ours never is.
    let mut block = Zeroizing::new([0; 64]);
    for (byte, of) in block.iter_mut().zip(secret.expose()) {
        *byte = *of;
    }
    let mut mac = Hmac::<Sha1>::new((&*block).into());
    mac.update(&step.to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let at = usize::from(mac[19] & 0x0f);
    let mut number = u32::from_be_bytes([mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]]);
    let mut digits = Zeroizing::new([b'0'; DIGITS]);
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(*b"12345678901234567890")
    }

    fn text(step: u64) -> String {
        String::from_utf8(code(&secret(), step).to_vec()).unwrap()
    }

    /// RFC 6238, appendix B, the SHA-1 rows: eight digits there, the last six here.
    #[test]
    fn rfc_6238() {
        for (time, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(text(step(time).unwrap()), expected[2..], "{time}");
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn rfc_4226() {
        let expected =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (count, expected) in (0..).zip(expected) {
            assert_eq!(text(count), expected, "{count}");
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_one_beside_it() {
        let code = Code::read(text(1_000).as_bytes()).unwrap();
        for (now, expected) in
            [(998, None), (999, Some(1_000)), (1_000, Some(1_000)), (1_001, Some(1_000)), (1_002, None)]
        {
            assert_eq!(matching(&secret(), &code, now), expected, "{now}");
        }
        assert_eq!(matching(&Secret::new([7; SECRET_LENGTH]), &code, 1_000), None);
        // The ends of time.
        let first = Code::read(text(0).as_bytes()).unwrap();
        assert_eq!(matching(&secret(), &first, 0), Some(0));
        assert_eq!(matching(&secret(), &first, u64::MAX), None);
        assert_eq!((step(-1), step(0), step(29), step(30)), (None, Some(0), Some(0), Some(1)));
    }

    #[test]
    fn six_ascii_digits_and_nothing_else_are_a_code() {
        assert!(Code::read(b"000000").is_some());
        for wrong in [
            "",
            " ",
            "12345",
            "1234567",
            " 12345",
            "12345 ",
            "123 56",
            " 123456",
            "123456 ",
            "123456\n",
            "\t123456",
            "+12345",
            "-12345",
            "12345a",
            "0x1234",
            "12.345",
            "1e0005",
            "١٢٣٤٥٦",
            "１２３４５６",
            "12345６",
            "𝟏23456",
            "123\u{200b}456",
            "123456\0",
            "\u{feff}123456",
        ] {
            assert!(Code::read(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
    }
}

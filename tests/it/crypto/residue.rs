//! What sealing and opening leave on the stack of a thread that then rests: nothing of the plaintext.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc;

use strongroom::crypto::{Dek, Identity, Seal, Secret, open, seal};
use uuid::Uuid;

/// As far as a cipher could go, and further.
const BELOW: usize = 128 * 1024;

#[test]
fn nothing_of_the_plaintext_is_left_below() {
    for kind in [Seal::Aes256Gcm, Seal::Fernet] {
        let left = below_after(move |dek, identity, secret| drop(seal(kind, dek, [7; 32], identity, secret).unwrap()));
        assert_eq!(left, 0, "{kind:?}: sealing");
        let left = below_after(move |dek, identity, secret| {
            let blob = seal(kind, dek, [7; 32], identity, secret).unwrap();
            drop(open(dek, identity, &blob).unwrap());
        });
        assert_eq!(left, 0, "{kind:?}: opening");
    }
    // The search finds what is there.
    let copy = |_: &Dek, _: &Identity, secret: &Secret| {
        std::hint::black_box(copied(secret.expose()));
    };
    assert_ne!(below_after(copy), 0);
}

#[inline(never)]
fn copied(secret: &[u8]) -> [u8; 2000] {
    std::hint::black_box(secret.try_into().unwrap())
}

/// How many pieces of a secret are on the stack of a thread, below the place where it did something with it.
fn below_after(act: impl FnOnce(&Dek, &Identity, &Secret) + Send + 'static) -> usize {
    let text: Vec<u8> = (0..2000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let secret = Secret::new(text.as_slice());
    let (done, is_done) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let worker = std::thread::spawn(move || {
        let identity = Identity {
            org: "acme".into(),
            project: "default".into(),
            provider: "openai".into(),
            name: "default".into(),
            credential: Uuid::nil(),
            version: 1,
        };
        act(&Dek::new([9; 32]), &identity, &secret);
        let here = 0_u8;
        done.send(std::ptr::from_ref(&here) as usize).unwrap();
        may_leave.recv().ok();
    });
    let here: usize = is_done.recv().unwrap();
    let mut stack = vec![0; BELOW];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut stack, (here - BELOW) as u64).unwrap();
    drop(leave);
    worker.join().unwrap();
    text.chunks(16).filter(|piece| stack.windows(16).any(|window| window == *piece)).count()
}

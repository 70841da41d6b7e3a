//! What dead replicas have left uncopied: it reaches the places of whoever looks after their chains.

use std::path::Path;
use std::time::{Duration, Instant};

use strongroom::crypto::ledger::{chain, note};

use super::World;
use super::orphans::{SELDOM, age, covered, signed, write};
use crate::daemon::runtime;

const COPIED: &str = "[audit]\ncheckpoint_every = \"200ms\"\ncheckpoint_file = \"checkpoints\"\n\
                      [audit.file]\npath = \"copy\"\n";

/// The numbers of a chain's records in a copy, as they came.
fn copied(copy: &Path, chain: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(copy).unwrap_or_default();
    // The last line may be half written.
    let places = text.lines().filter_map(chain::Place::of);
    places.filter(|place| place.instance == chain).map(|place| place.sequence).collect()
}

/// How many records a chain's checkpoints stand for that were passed on.
fn passed_on(file: &Path, chain: &str) -> Vec<u64> {
    let (notes, _) = note::read(&std::fs::read_to_string(file).unwrap_or_default());
    let claims = notes.iter().filter_map(note::Note::claims);
    claims.filter(|claim| claim.instance == chain).map(|claim| claim.size).collect()
}

/// All numbers of a chain.
fn all(world: &World, chain: &str) -> Vec<u64> {
    let newest = world.ask(&format!("SELECT max(sequence) FROM audit_log WHERE instance = '{chain}'"));
    (1..=newest.parse().unwrap()).collect()
}

/// Whether all of a chain was handed on, and that is kept.
fn is_copied(chain: &str) -> String {
    let reached = |copy: &str| format!("SELECT reached FROM audit_cursors WHERE copy = '{copy} of {chain}'");
    format!(
        "SELECT ({}) = (SELECT max(position) FROM audit_log WHERE instance = '{chain}') \
         AND ({}) = (SELECT max(sequence) FROM audit_log WHERE instance = '{chain}')",
        reached("file"),
        reached("checkpoint-file")
    )
}

fn is_free(chain: &str) -> String {
    format!("SELECT holder IS NULL FROM instances WHERE instance = '{chain}'")
}

/// Nothing can be appended to a folder.
fn block(home: &Path, place: &str) {
    std::fs::rename(home.join(place), home.join(format!("{place}.before"))).unwrap();
    std::fs::create_dir(home.join(place)).unwrap();
}

#[test]
fn what_a_killed_one_left_reaches_the_places_of_another_once() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.start_with(name, &world.url(), COPIED));
    let token = a.token.clone();
    let chain = runtime().block_on(write(&world, &b, &token, "one"));
    world.awaits(&is_copied(&chain), "t");
    let home = b.home.clone();
    ["copy", "checkpoints"].iter().for_each(|place| block(&home, place));
    assert_eq!(runtime().block_on(write(&world, &b, &token, "two")), chain);
    b.kill();
    age(&world, &chain);
    world.awaits(&is_copied(&chain), "t");
    world.awaits(&is_free(&chain), "t");
    // As often as it may be looked again.
    std::thread::sleep(Duration::from_secs(2));
    let first = copied(&home.join("copy.before"), &chain);
    let rest: Vec<_> = [&a, &c].iter().map(|daemon| copied(&daemon.home.join("copy"), &chain)).collect();
    assert!(rest.iter().any(Vec::is_empty), "one of them did it: {rest:?}");
    let found: Vec<_> = first.iter().chain(rest.iter().flatten()).copied().collect();
    assert_eq!(found, all(&world, &chain), "{first:?} and {rest:?}");
    let passed: Vec<_> = [&a, &c].iter().flat_map(|one| passed_on(&one.home.join("checkpoints"), &chain)).collect();
    let newest = passed.last().copied();
    assert_eq!(newest, found.last().copied(), "{passed:?}");
    assert!(passed.is_sorted_by(|one, next| one < next), "{passed:?}");
}

#[test]
fn what_cannot_be_read_of_one_chain_keeps_no_other_from_the_places() {
    let world = World::new();
    let a = world.start_with("a", &world.url(), COPIED);
    let token = a.token.clone();
    let mut dead = Vec::new();
    for name in ["b", "c"] {
        let daemon = world.start_with(name, &world.url(), SELDOM);
        dead.push(runtime().block_on(write(&world, &daemon, &token, name)));
        daemon.kill();
    }
    dead.sort();
    // The first that is looked at.
    world.ask(&format!("UPDATE audit_log SET canonical = 'edited' WHERE instance = '{}' AND sequence = 2", dead[0]));
    dead.iter().for_each(|chain| age(&world, chain));
    world.awaits(&is_copied(&dead[1]), "t");
    assert_eq!(copied(&a.home.join("copy"), &dead[1]), all(&world, &dead[1]));
    assert!(copied(&a.home.join("copy"), &dead[0]).is_empty());
}

#[test]
fn a_place_that_takes_nothing_holds_up_neither_checkpoints_nor_chains() {
    let world = World::new();
    let a = world.start_with("a", &world.url(), COPIED);
    let b = world.start_with("b", &world.url(), SELDOM);
    let token = a.token.clone();
    let chain = runtime().block_on(write(&world, &b, &token, "one"));
    block(&a.home, "copy");
    b.kill();
    age(&world, &chain);
    world.awaits(&signed(&chain), "1|t");
    world.awaits(&is_free(&chain), "t");
    let own = runtime().block_on(write(&world, &a, &token, "two"));
    world.awaits(&covered(&own), "t");
    assert_eq!(passed_on(&a.home.join("checkpoints"), &chain), [*all(&world, &chain).last().unwrap()]);
    let copy = a.home.join("copy");
    std::fs::remove_dir(&copy).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while copied(&copy, &chain) != all(&world, &chain) {
        assert!(Instant::now() < end, "{:?}", copied(&copy, &chain));
        std::thread::sleep(Duration::from_millis(50));
    }
    world.awaits(&is_free(&chain), "t");
}

//! Against the published vectors, and against the definition.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

#[derive(Deserialize)]
struct File<T> {
    cases: Vec<T>,
}

fn file<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str::<File<T>>(text).unwrap().cases
}

/// None where the vector's bytes are no hash: nothing of it is one then.
fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).unwrap().try_into().ok()
}

/// Where a vector does not care about its roots, they are words.
fn root(text: &str) -> Option<Hash> {
    let mut bytes = STANDARD.decode(text).unwrap();
    bytes.resize(32, 0);
    bytes.try_into().ok()
}

fn hashes(proof: Option<Vec<String>>) -> Option<Vec<Hash>> {
    proof.unwrap_or_default().iter().map(|text| hash(text)).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    file: String,
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[test]
fn published_inclusion_proofs() {
    let (mut good, mut bad) = (0, 0);
    for case in file::<Inclusion>(include_str!("../../../../tests/vectors/rfc6962-inclusion.json")) {
        let parts = hash(&case.root).zip(hash(&case.leaf_hash)).zip(hashes(case.proof));
        let holds =
            parts.is_some_and(|((root, leaf), proof)| includes(case.leaf_idx, case.tree_size, leaf, &proof, &root));
        assert_eq!(holds, !case.want_err, "{}", case.file);
        *(if holds { &mut good } else { &mut bad }) += 1;
    }
    assert_eq!((good, bad), (6, 92));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    file: String,
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[test]
fn published_consistency_proofs() {
    let (mut good, mut bad) = (0, 0);
    for case in file::<Consistency>(include_str!("../../../../tests/vectors/rfc6962-consistency.json")) {
        let parts = root(&case.root1).zip(root(&case.root2)).zip(hashes(case.proof));
        let holds =
            parts.is_some_and(|((first, second), proof)| extends((case.size1, &first), (case.size2, &second), &proof));
        assert_eq!(holds, !case.want_err, "{}", case.file);
        *(if holds { &mut good } else { &mut bad }) += 1;
    }
    assert_eq!((good, bad), (6, 92));
}

/// MTH, as the RFC writes it.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(usize::try_from(split(many.len() as u64)).unwrap());
            node(&defined(left), &defined(right))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf(&n.to_string())).collect()
}

#[test]
fn the_trees_of_rfc_6962_that_certificate_transparency_publishes() {
    // The eight inputs of Certificate Transparency's reference tests, and their roots.
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    let hex = |hash: Hash| data_encoding::HEXLOWER.encode(&hash);
    assert_eq!(hex(frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (input, root) in inputs.into_iter().zip(roots) {
        let bytes = data_encoding::HEXLOWER.decode(input.as_bytes()).unwrap();
        frontier.push(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into());
        assert_eq!(hex(frontier.root()), root);
    }
}

#[test]
fn a_frontier_goes_there_and_back_and_is_of_one_size() {
    let mut frontier = Frontier::default();
    for leaf in leaves(70) {
        let bytes = frontier.to_bytes();
        assert_eq!(Frontier::from_bytes(frontier.size, &bytes).as_ref(), Some(&frontier));
        assert_eq!(Frontier::from_bytes(frontier.size, &[bytes, vec![0]].concat()), None);
        assert_eq!(Frontier::from_bytes(frontier.size * 2 + 1, &frontier.to_bytes()), None);
        frontier.push(leaf);
    }
}

/// A prover of `size` leaves, the first of them pruned, with a way to what it needs.
fn prover(all: &[Hash], pruned: u64) -> Prover {
    let pruned = usize::try_from(pruned).unwrap();
    let mut base = Frontier::default();
    all[..pruned].iter().for_each(|leaf| base.push(*leaf));
    let mut prover = Prover::new(base);
    all[pruned..].iter().for_each(|leaf| prover.push(*leaf));
    prover
}

fn at_hand(prover: &Prover, all: &[Hash], leaf: u64) -> Leaves {
    let needs = prover.needs(leaf);
    let hashes = all[usize::try_from(needs.start).unwrap()..usize::try_from(needs.end).unwrap()].to_vec();
    Leaves { first: needs.start, hashes }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn roots_are_as_defined(count in 0_u64..300) {
        let all = leaves(count);
        let mut frontier = Frontier::default();
        all.iter().for_each(|leaf| frontier.push(*leaf));
        prop_assert_eq!(frontier.root(), defined(&all));
    }

    #[test]
    fn every_leaf_that_is_left_can_be_proven(
        (size, pruned, index) in (1_u64..4000).prop_flat_map(|size| (Just(size), 0..size))
            .prop_flat_map(|(size, pruned)| (Just(size), Just(pruned), pruned..size)),
        wrong in any::<u64>(),
    ) {
        let all = leaves(size);
        let prover = prover(&all, pruned);
        let root = defined(&all);
        let proof = prover.inclusion(index, &at_hand(&prover, &all, index)).unwrap();
        let this = all[usize::try_from(index).unwrap()];
        prop_assert!(includes(index, size, this, &proof, &root));
        // And of nothing else.
        prop_assert!(!includes(index, size, leaf("another"), &proof, &root));
        let other = wrong % size;
        prop_assert!(other == index || !includes(other, size, this, &proof, &root));
        prop_assert!(!includes(index, size, this, &[&proof[..], &[root]].concat(), &root));
        if !proof.is_empty() {
            prop_assert!(!includes(index, size, this, &proof[1..], &root));
        }
    }

    #[test]
    fn a_tree_extends_each_of_its_beginnings(
        (size, pruned, smaller) in (1_u64..4000).prop_flat_map(|size| (Just(size), 0..size))
            .prop_flat_map(|(size, pruned)| (Just(size), Just(pruned), pruned.max(1)..=size)),
    ) {
        let all = leaves(size);
        let prover = prover(&all, pruned);
        let old = defined(&all[..usize::try_from(smaller).unwrap()]);
        let root = defined(&all);
        let proof = prover.consistency(smaller, &at_hand(&prover, &all, smaller - 1)).unwrap();
        prop_assert!(extends((smaller, &old), (size, &root), &proof));
        let mut forked = all;
        forked[usize::try_from(smaller).unwrap() - 1] = leaf("another");
        let other = defined(&forked[..usize::try_from(smaller).unwrap()]);
        prop_assert!(!extends((smaller, &other), (size, &root), &proof));
    }
}

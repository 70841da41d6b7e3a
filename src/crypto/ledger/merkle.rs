//! The tree of RFC 6962 (and RFC 9162) over the records of one instance.
//!
//! ```text
//!   leaf(n)    = SHA-256( 00 ‖ canonical(n) )                       n from 1 in the log, from 0 in the tree
//!   node(l, r) = SHA-256( 01 ‖ l ‖ r )
//!   MTH of n leaves = node( MTH of the first k, MTH of the others )    k = the largest power of two below n
//! ```

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::Hash;

pub fn leaf(canonical: &str) -> Hash {
    Sha256::new().chain_update([0]).chain_update(canonical).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Of no leaves.
fn empty() -> Hash {
    Sha256::digest([]).into()
}

/// The right edge of a tree: the roots of its complete subtrees, the largest first. All that it takes to grow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        let mut grown = leaf;
        // Each complete subtree of the same size as the grown one becomes a part of it.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                grown = node(&left, &grown);
            }
        }
        self.roots.push(grown);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        let mut smaller = self.roots.iter().rev().copied();
        let Some(last) = smaller.next() else { return empty() };
        smaller.fold(last, |right, left| node(&left, &right))
    }

    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// None where the bytes are not a tree's of this size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Self { size, roots: roots.to_vec() })
    }

    /// The root of a complete subtree that is one of ours.
    fn complete(&self, leaves: &Range<u64>) -> Option<Hash> {
        let length = leaves.end - leaves.start;
        // Above the bit of this subtree, the size must be what stands before it.
        let here = length.is_power_of_two()
            && self.size & length != 0
            && self.size & !(length | (length - 1)) == leaves.start
            && leaves.start.is_multiple_of(length);
        let larger = (self.size & !(length | (length - 1))).count_ones() as usize;
        here.then(|| self.roots.get(larger).copied()).flatten()
    }
}

/// The largest power of two below a size above 1.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Whether a leaf is in the tree with this root.
pub fn includes(index: u64, size: u64, leaf: Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut index, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            hash = node(sibling, &hash);
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether the tree with the second root begins with the one with the first.
pub fn extends(first: (u64, &Hash), second: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((smaller, first_root), (larger, second_root)) = (first, second);
    // Every tree begins with the empty one: that proves nothing.
    if smaller == 0 || smaller > larger {
        return false;
    }
    if smaller == larger {
        return proof.is_empty() && first_root == second_root;
    }
    // A first tree that is complete is not repeated in its own proof.
    let mut proof = proof.iter();
    let seed = if smaller.is_power_of_two() { Some(first_root) } else { proof.next() };
    let Some(seed) = seed else { return false };
    let (mut index, mut last) = (smaller - 1, larger - 1);
    while index & 1 == 1 {
        (index, last) = (index >> 1, last >> 1);
    }
    let (mut old, mut new) = (*seed, *seed);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            (old, new) = (node(sibling, &old), node(sibling, &new));
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            new = node(&new, sibling);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    last == 0 && old == *first_root && new == *second_root
}

/// How many leaves share a block.
pub const BLOCK: u64 = 1024;

/// What it takes to prove things about a tree without all of its leaves at hand: the roots of its blocks.
pub struct Prover {
    /// The tree of what was pruned, and that which ends with the block that it ends in.
    base: Frontier,
    edge: Frontier,
    size: u64,
    /// The first block that is complete after that.
    first: u64,
    blocks: Vec<Hash>,
    /// The block that is growing.
    open: Frontier,
    tail: Leaves,
}

/// The leaves from one on.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    pub first: u64,
    pub hashes: Vec<Hash>,
}

impl Leaves {
    fn get(&self, leaf: u64) -> Option<Hash> {
        self.hashes.get(usize::try_from(leaf.checked_sub(self.first)?).ok()?).copied()
    }
}

impl Prover {
    pub fn new(base: Frontier) -> Self {
        let size = base.size;
        let tail = Leaves { first: size, hashes: Vec::new() };
        Self {
            edge: base.clone(),
            base,
            size,
            first: size.div_ceil(BLOCK),
            blocks: Vec::new(),
            open: Frontier::default(),
            tail,
        }
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        if self.size.is_multiple_of(BLOCK) {
            (self.open, self.tail) = (Frontier::default(), Leaves { first: self.size, hashes: Vec::new() });
        }
        self.tail.hashes.push(leaf);
        self.size += 1;
        if self.size > self.first * BLOCK {
            self.open.push(leaf);
            if self.size.is_multiple_of(BLOCK) {
                self.blocks.push(self.open.root());
            }
        } else {
            self.edge.push(leaf);
        }
    }

    /// Which leaves a proof needs at hand: those of the block that this one is in, as far as they are not pruned.
    pub fn needs(&self, leaf: u64) -> Range<u64> {
        let start = leaf - leaf % BLOCK;
        start.max(self.base.size)..(start + BLOCK).min(self.size)
    }

    /// The proof that a leaf is in the tree. None without the leaves that it needs.
    pub fn inclusion(&self, index: u64, leaves: &Leaves) -> Option<Vec<Hash>> {
        let mut proof = Vec::new();
        let mut whole = 0..self.size;
        if !whole.contains(&index) {
            return None;
        }
        // From the root down; the proof goes from the leaf up.
        while whole.end - whole.start > 1 {
            let middle = whole.start + split(whole.end - whole.start);
            let (path, sibling) = if index < middle {
                (whole.start..middle, middle..whole.end)
            } else {
                (middle..whole.end, whole.start..middle)
            };
            proof.push(self.hash(sibling, leaves)?);
            whole = path;
        }
        proof.reverse();
        Some(proof)
    }

    /// The proof that the tree begins with the one of this size. None without the leaves that the last of those needs.
    pub fn consistency(&self, smaller: u64, leaves: &Leaves) -> Option<Vec<Hash>> {
        if smaller == 0 || smaller > self.size {
            return None;
        }
        let mut proof = Vec::new();
        let (mut whole, mut complete) = (0..self.size, true);
        while whole.end != smaller {
            let middle = whole.start + split(whole.end - whole.start);
            if smaller <= middle {
                proof.push(self.hash(middle..whole.end, leaves)?);
                whole = whole.start..middle;
            } else {
                proof.push(self.hash(whole.start..middle, leaves)?);
                (whole, complete) = (middle..whole.end, false);
            }
        }
        if !complete {
            proof.push(self.hash(whole, leaves)?);
        }
        proof.reverse();
        Some(proof)
    }

    fn hash(&self, of: Range<u64>, leaves: &Leaves) -> Option<Hash> {
        if let Some(pruned) = self.base.complete(&of).or_else(|| self.edge.complete(&of)) {
            return Some(pruned);
        }
        let length = of.end - of.start;
        if length == BLOCK && of.start.is_multiple_of(BLOCK) && of.start / BLOCK >= self.first {
            return self.blocks.get(usize::try_from(of.start / BLOCK - self.first).ok()?).copied();
        }
        if length == 1 {
            return leaves.get(of.start).or_else(|| self.tail.get(of.start));
        }
        let middle = of.start + split(length);
        Some(node(&self.hash(of.start..middle, leaves)?, &self.hash(middle..of.end, leaves)?))
    }
}

#[cfg(test)]
mod tests;

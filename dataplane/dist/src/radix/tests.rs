use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

impl<V> Radix<V> {
    fn nodes(&self) -> Vec<&Node<V>> {
        let (mut nodes, mut pending) = (Vec::new(), Vec::from_iter(self.root()));
        while let Some(node) = pending.pop() {
            nodes.push(node);
            if let Below::Children(branch) = node.below() {
                pending.extend(branch.children());
            }
        }
        nodes
    }

    /// Bytes of the heap that it holds, the allocator's rounding to 8 included.
    pub(crate) fn heap_bytes(&self) -> usize {
        let counts = 2 * size_of::<usize>();
        let node_bytes = |node: &Node<V>| {
            let branch_bytes = match node.below() {
                Below::Value(_) => 0,
                Below::Children(branch) => {
                    size_of::<Branch<V>>() + branch.children.capacity() * size_of::<usize>()
                }
            };
            counts + size_of::<Node<V>>() + node.label.len().next_multiple_of(8) + branch_bytes
        };
        self.nodes().into_iter().map(node_bytes).sum()
    }
}

/// A key that is no prefix of another: it ends with the only 0.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..4_u8, 0..6).prop_map(|mut key| {
        key.push(0);
        key
    })
}

proptest! {
    #[test]
    fn it_is_a_map_and_its_clones_never_change(
        changes in prop::collection::vec((keys(), prop::option::weighted(0.6, any::<u8>())), 0..80),
    ) {
        let (mut radix, mut model) = (Radix::default(), BTreeMap::new());
        let mut clones = Vec::new();
        for (key, value) in changes {
            clones.push((radix.clone(), model.clone()));
            let (replaced, expected) = match value {
                Some(value) => (radix.insert(&key, value), model.insert(key, value)),
                None => (radix.remove(&key), model.remove(&key)),
            };
            prop_assert_eq!(replaced, expected);
        }
        clones.push((radix, model));
        for (radix, model) in clones {
            prop_assert_eq!(radix.len(), model.len());
            check_shape(&radix);
            let leaves = radix.nodes().into_iter().filter(|node| node.is_leaf()).count();
            prop_assert_eq!(leaves, model.len());
            for (key, value) in &model {
                prop_assert_eq!(radix.get(key), Some(value));
            }
        }
    }
}

fn check_shape(radix: &Radix<u8>) {
    for node in radix.nodes() {
        if let Below::Children(branch) = node.below() {
            let firsts: Vec<u8> = branch.children().map(|node| node.label()[0]).collect();
            assert!(firsts.len() >= 2, "a branch with one child was not merged");
            assert!(firsts.is_sorted_by(|a, b| a < b));
            let present: u32 = branch.present.iter().map(|word| word.count_ones()).sum();
            assert_eq!(present as usize, firsts.len());
        }
    }
}

#[test]
fn every_byte_can_branch() {
    let mut radix = Radix::default();
    for byte in 0..=u8::MAX {
        radix.insert(&[byte, 7], byte);
    }
    for byte in 0..=u8::MAX {
        assert_eq!(radix.get(&[byte, 7]), Some(&byte));
    }
    for byte in 0..=u8::MAX {
        assert_eq!(radix.remove(&[byte, 7]), Some(byte));
    }
    assert!(radix.root().is_none());
}

#[test]
fn a_change_shares_all_nodes_but_those_on_its_path() {
    let mut radix = Radix::default();
    for number in 0..10_000 {
        radix.insert(format!("devices/{number:05}/state\0").as_bytes(), number);
    }
    let address = |node: &Node<i32>| std::ptr::from_ref(node).addr();
    let before = radix.clone();
    let addresses: HashSet<usize> = before.nodes().into_iter().map(address).collect();
    let new_nodes = |radix: &Radix<i32>| {
        let nodes = radix.nodes().into_iter().map(address);
        nodes.filter(|address| !addresses.contains(address)).count()
    };

    radix.insert(b"devices/01234/other\0", 1);
    assert!(new_nodes(&radix) <= 8, "{} new nodes", new_nodes(&radix));
    radix.remove(b"devices/04321/state\0");
    assert!(new_nodes(&radix) <= 16, "{} new nodes", new_nodes(&radix));

    let unshared = radix.clone();
    assert_eq!(radix.remove(b"devices/99999/state\0"), None);
    let same = std::ptr::eq(unshared.root().unwrap(), radix.root().unwrap());
    assert!(same, "removing what is not there copied nodes");
    assert_eq!(before.len(), 10_000);
}

#[test]
fn nodes_are_small() {
    assert!(size_of::<Node<[u32; 2]>>() <= 32);
}

//! A persistent map from byte strings to values: a radix tree of `Arc` nodes.
//!
//! A clone is O(1) and shares every node. A change copies the nodes on its path that a clone still
//! shares, at most 256 child pointers each, and mutates the others in place: building a map that
//! nobody else holds copies nothing.
//!
//! # Invariants
//! - No key is a prefix of another (the caller's encoding is self-delimiting): values stand only
//!   in leaves.
//! - A branch has two children or more, and their labels start with different bytes.
//! - Nothing recurses, dropping included: a path may be as deep as a key is long.

use std::mem;
use std::sync::Arc;

/// The map. `len` is the number of values.
#[derive(Clone)]
pub(crate) struct Radix<V> {
    root: Option<Arc<Node<V>>>,
    len: usize,
}

/// A node with the bytes on the edge that leads to it.
#[derive(Clone)]
pub(crate) struct Node<V> {
    label: Box<[u8]>,
    body: Body<V>,
}

#[derive(Clone)]
enum Body<V> {
    Leaf(V),
    Branch(Box<Branch<V>>),
}

/// The children in the order of the first byte of their labels; `present` says which bytes.
#[derive(Clone)]
pub(crate) struct Branch<V> {
    present: [u64; 4],
    children: Vec<Arc<Node<V>>>,
}

/// What stands below a node's label.
pub(crate) enum Below<'a, V> {
    /// A value: the key is complete.
    Value(&'a V),
    /// Longer keys.
    Children(&'a Branch<V>),
}

impl<V> Default for Radix<V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<V> Radix<V> {
    /// The number of values.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Where every walk starts; `None` if the map is empty.
    pub(crate) fn root(&self) -> Option<&Node<V>> {
        self.root.as_deref()
    }

    /// The value at exactly that key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let (mut node, mut rest) = (self.root()?, key);
        loop {
            rest = rest.strip_prefix(node.label())?;
            match node.below() {
                Below::Value(value) => return rest.is_empty().then_some(value),
                Below::Children(branch) => node = branch.child(*rest.first()?)?,
            }
        }
    }
}

impl<V: Clone> Radix<V> {
    /// Puts a value and gives the one that it replaced. O(key length + copied nodes).
    pub(crate) fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let replaced = match &mut self.root {
            Some(root) => insert_below(root, key, value),
            None => {
                self.root = Some(Node::leaf(key, value));
                None
            }
        };
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Takes the value out. Copies nothing if the key is absent.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.get(key)?;
        let root = self.root.as_mut()?;
        let removed = if root.is_leaf() {
            self.root.take()?
        } else {
            remove_below(root, key)?
        };
        self.len -= 1;
        Arc::unwrap_or_clone(removed).into_value()
    }
}

fn insert_below<V: Clone>(root: &mut Arc<Node<V>>, key: &[u8], value: V) -> Option<V> {
    let (mut at, mut rest) = (root, key);
    loop {
        let node = Arc::make_mut(at);
        let shared = shared_prefix(&node.label, rest);
        rest = &rest[shared..];
        if shared < node.label.len() {
            node.split(shared, rest, value);
            return None;
        }
        match &mut node.body {
            Body::Leaf(old) => return Some(mem::replace(old, value)),
            Body::Branch(branch) => match branch.position(first_byte(rest)) {
                Ok(index) => at = &mut branch.children[index],
                Err(index) => {
                    branch.insert(index, Node::leaf(rest, value));
                    return None;
                }
            },
        }
    }
}

/// Takes the leaf of a key that is known to be there and is not the root.
fn remove_below<V: Clone>(root: &mut Arc<Node<V>>, key: &[u8]) -> Option<Arc<Node<V>>> {
    let (mut at, mut rest) = (root, key);
    loop {
        let node = Arc::make_mut(at);
        rest = rest.get(node.label.len()..)?;
        let first = *rest.first()?;
        if node.branch()?.child(first)?.is_leaf() {
            return node.remove_child(first);
        }
        at = node.branch_mut()?.child_mut(first)?;
    }
}

impl<V> Node<V> {
    /// The bytes on the edge that leads here, its parent's branching byte first.
    pub(crate) const fn label(&self) -> &[u8] {
        &self.label
    }

    /// What follows the label.
    pub(crate) const fn below(&self) -> Below<'_, V> {
        match &self.body {
            Body::Leaf(value) => Below::Value(value),
            Body::Branch(branch) => Below::Children(branch),
        }
    }

    fn leaf(label: &[u8], value: V) -> Arc<Self> {
        Arc::new(Self {
            label: label.into(),
            body: Body::Leaf(value),
        })
    }

    const fn is_leaf(&self) -> bool {
        self.branch().is_none()
    }

    const fn branch(&self) -> Option<&Branch<V>> {
        match &self.body {
            Body::Leaf(_) => None,
            Body::Branch(branch) => Some(branch),
        }
    }

    const fn branch_mut(&mut self) -> Option<&mut Branch<V>> {
        match &mut self.body {
            Body::Leaf(_) => None,
            Body::Branch(branch) => Some(branch),
        }
    }

    fn into_value(self) -> Option<V> {
        match self.body {
            Body::Leaf(value) => Some(value),
            Body::Branch(_) => None,
        }
    }

    /// Makes this node the branch after `shared` bytes of its label: one child is what it was, the
    /// other the leaf at `rest`.
    fn split(&mut self, shared: usize, rest: &[u8], value: V) {
        let lower = Self {
            label: self.label[shared..].into(),
            body: mem::replace(&mut self.body, Body::Branch(Box::default())),
        };
        self.label = self.label[..shared].into();
        if let Body::Branch(branch) = &mut self.body {
            branch.push(Arc::new(lower));
            branch.push(Self::leaf(rest, value));
        }
    }
}

impl<V: Clone> Node<V> {
    /// Takes a child out. If one is left, this node becomes that child: a branch has two or more.
    fn remove_child(&mut self, first: u8) -> Option<Arc<Self>> {
        let branch = self.branch_mut()?;
        let removed = branch.remove(first)?;
        if let Some(child) = branch.take_only_child() {
            let child = Arc::unwrap_or_clone(child);
            self.label = [&*self.label, &*child.label].concat().into();
            self.body = child.body;
        }
        Some(removed)
    }
}

impl<V> Branch<V> {
    /// The child whose label starts with that byte.
    pub(crate) fn child(&self, first: u8) -> Option<&Node<V>> {
        let index = self.position(first).ok()?;
        self.children.get(index).map(Arc::as_ref)
    }

    fn child_mut(&mut self, first: u8) -> Option<&mut Arc<Node<V>>> {
        let index = self.position(first).ok()?;
        self.children.get_mut(index)
    }

    /// All children, in the order of the first byte of their labels.
    pub(crate) fn children(&self) -> impl DoubleEndedIterator<Item = &Node<V>> {
        self.children.iter().map(Arc::as_ref)
    }

    /// Where the child of that byte stands, or where it would.
    fn position(&self, first: u8) -> Result<usize, usize> {
        let (word, bit) = (usize::from(first >> 6), 1_u64 << (first & 63));
        let words_before = self.present[..word].iter().map(|word| word.count_ones());
        let in_word = (self.present[word] & (bit - 1)).count_ones();
        // At most 255 bits stand before a byte's own.
        let index = words_before
            .chain([in_word])
            .fold(0, |sum, ones| sum + ones as usize);
        if self.present[word] & bit == 0 {
            return Err(index);
        }
        Ok(index)
    }

    fn push(&mut self, child: Arc<Node<V>>) {
        let index = match self.position(first_byte(&child.label)) {
            Ok(index) | Err(index) => index,
        };
        self.insert(index, child);
    }

    fn insert(&mut self, index: usize, child: Arc<Node<V>>) {
        self.flip(first_byte(&child.label));
        // Branches are many and small: no spare room in them.
        self.children.reserve_exact(1);
        self.children.insert(index, child);
    }

    fn remove(&mut self, first: u8) -> Option<Arc<Node<V>>> {
        let index = self.position(first).ok()?;
        self.flip(first);
        Some(self.children.remove(index))
    }

    fn take_only_child(&mut self) -> Option<Arc<Node<V>>> {
        if self.children.len() > 1 {
            return None;
        }
        self.children.pop()
    }

    fn flip(&mut self, first: u8) {
        self.present[usize::from(first >> 6)] ^= 1 << (first & 63);
    }
}

impl<V> Default for Branch<V> {
    fn default() -> Self {
        Self {
            present: [0; 4],
            children: Vec::new(),
        }
    }
}

impl<V> Drop for Branch<V> {
    /// Frees what hangs below without recursion: a chain of branches is as deep as a key is long.
    fn drop(&mut self) {
        let mut orphans = mem::take(&mut self.children);
        while let Some(orphan) = orphans.pop() {
            if let Some(Node {
                body: Body::Branch(mut branch),
                ..
            }) = Arc::into_inner(orphan)
            {
                orphans.append(&mut branch.children);
            }
        }
    }
}

fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The byte that a label branches on. A label below a branch is never empty, and neither is what
/// is left of a key there: no key is a prefix of another.
fn first_byte(label: &[u8]) -> u8 {
    debug_assert!(!label.is_empty(), "no key is a prefix of another");
    label.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;

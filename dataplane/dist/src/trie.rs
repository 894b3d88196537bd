//! Who gets a message: the routes of one tenant, matched by topic.
//!
//! One [radix tree](crate::radix) over the bytes of the filters: `filter text · ff · share · receiver`
//! leads to the options. `ff` stands in no UTF-8, so no filter holds it, and the wildcards are found
//! as the bytes `+` and `#` where a level starts: no topic name holds them.
//!
//! - A clone is O(1): a snapshot. A change copies the few nodes on its path.
//! - A match visits the nodes whose path agrees with the topic, wildcards included; with `w` levels
//!   that have both a wildcard and the exact text on the way, at most `2^w` paths and never more
//!   nodes than there are. Then it visits the routes that it gives.
//! - A route of a device with a topic of its own takes 120 to 160 bytes (measured with a million, 30
//!   bytes of filter and 15 of client identifier): beginnings that filters share are stored once.
//! - Nothing recurses: a topic of 65,535 levels costs no stack.

use std::fmt;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tessera_mqtt::{FilterSpec, TopicFilter, TopicName};

use crate::keys::{Identity, parse_tail, put_tail, split_levels};
use crate::radix::{Below, Branch, Node, Radix};
use crate::route::{Receiver, Route, RouteOptions};

/// Ends a filter within a path. Not a byte of UTF-8.
const FILTER_END: u8 = 0xff;

/// Paths that wait before the stack takes memory from the heap.
const PATHS_INLINE: usize = 16;

/// The routes of one tenant at one moment. A clone shares everything with its original.
#[derive(Clone, Default)]
pub struct Trie {
    routes: Radix<RouteOptions>,
}

impl Trie {
    /// How many routes there are.
    pub const fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with each route whose filter matches the topic (MQTT 5, 4.7), once each, in no
    /// particular order. A filter that begins with a wildcard matches no topic that begins with `$`
    /// (MQTT-4.7.2-1); `a/#` matches `a`.
    pub fn for_each_match(&self, topic: &TopicName, visit: &mut dyn FnMut(&Route)) {
        let Some(root) = self.routes.root() else {
            return;
        };
        let mut walk = Walk::new(topic, root);
        while let Some((node, path_len)) = walk.next_filter() {
            let filter_len = walk.filter_len;
            let Some(filter) = parse_filter(&walk.path[..filter_len]) else {
                continue;
            };
            for_each_leaf(node, path_len, &mut walk.path, &mut |path, options| {
                if let Some(route) = route_of(filter.clone(), &path[filter_len + 1..], options) {
                    visit(&route);
                }
            });
        }
    }

    /// Calls `visit` with every route.
    pub fn for_each(&self, visit: &mut dyn FnMut(&Route)) {
        let Some(root) = self.routes.root() else {
            return;
        };
        for_each_leaf(root, 0, &mut Vec::new(), &mut |path, options| {
            let mut parts = path.splitn(2, |byte| *byte == FILTER_END);
            let route = parts
                .next()
                .and_then(parse_filter)
                .zip(parts.next())
                .and_then(|(filter, tail)| route_of(filter, tail, options));
            if let Some(route) = route {
                visit(&route);
            }
        });
    }

    /// The options of the route from that filter to that receiver.
    pub fn get(&self, filter: &FilterSpec, receiver: &Receiver) -> Option<RouteOptions> {
        self.routes.get(&path_to(filter, receiver)).copied()
    }

    /// Adds a route or replaces its options. Returns whether anything changed.
    pub fn insert(&mut self, route: &Route) -> bool {
        self.insert_at(&path_to(&route.filter, &route.receiver), route.options)
    }

    /// Removes a route. Returns whether it was there.
    pub fn remove(&mut self, filter: &FilterSpec, receiver: &Receiver) -> bool {
        self.routes.remove(&path_to(filter, receiver)).is_some()
    }

    /// Sets or removes the route of that identity. Returns whether anything changed.
    pub(crate) fn set(&mut self, identity: &Identity, options: Option<RouteOptions>) -> bool {
        let path = path_to_identity(identity);
        match options {
            Some(options) => self.insert_at(&path, options),
            None => self.routes.remove(&path).is_some(),
        }
    }

    fn insert_at(&mut self, path: &[u8], options: RouteOptions) -> bool {
        // Looking first: an insertion that changes nothing copies nothing.
        self.routes.get(path) != Some(&options) && {
            self.routes.insert(path, options);
            true
        }
    }
}

impl fmt::Debug for Trie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trie").field("routes", &self.len()).finish()
    }
}

type RouteNode = Node<RouteOptions>;

/// How far the topic agrees with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The path matches the topic's first so many bytes.
    At(usize),
    /// The path matches all of the topic, and one slash follows: only `#` may come.
    Parent,
    /// The path ended with `#`: only the end of the filter may come.
    Everything,
}

/// The search for the filters that match one topic: depth first, without recursion.
struct Walk<'a> {
    topic: &'a [u8],
    /// The bytes that led to the node at hand.
    path: Vec<u8>,
    /// After a filter was found: how much of the path it is.
    filter_len: usize,
    /// Nodes to visit: where the topic stands there, and how long the path to them is.
    pending: SmallVec<[(&'a RouteNode, Place, usize); PATHS_INLINE]>,
}

/// What the bytes of a label made of a place.
enum Step {
    /// They do not agree with the topic.
    Lost,
    /// They do, so far.
    Open(Place),
    /// A filter that matches ended within them.
    Found,
}

impl<'a> Walk<'a> {
    fn new(topic: &'a TopicName, root: &'a RouteNode) -> Self {
        Self {
            topic: topic.as_bytes(),
            path: Vec::new(),
            filter_len: 0,
            pending: smallvec![(root, Place::At(0), 0)],
        }
    }

    /// The next filter that matches: every route at or below that node is one of its routes. With
    /// the length of the path above the node.
    fn next_filter(&mut self) -> Option<(&'a RouteNode, usize)> {
        while let Some((node, place, path_len)) = self.pending.pop() {
            self.path.truncate(path_len);
            match (self.follow(place, node.label()), node.below()) {
                (Step::Found, _) => return Some((node, path_len)),
                (Step::Open(place), Below::Children(branch)) => self.push_children(place, branch),
                (Step::Open(_), Below::Value(_)) | (Step::Lost, _) => {}
            }
        }
        None
    }

    fn follow(&mut self, mut place: Place, label: &[u8]) -> Step {
        for &byte in label {
            if byte == FILTER_END {
                if place != Place::Everything && place != Place::At(self.topic.len()) {
                    return Step::Lost;
                }
                self.filter_len = self.path.len();
                return Step::Found;
            }
            match self.advance(place, byte) {
                Some(next) => place = next,
                None => return Step::Lost,
            }
            self.path.push(byte);
        }
        Step::Open(place)
    }

    /// One byte of a filter against the topic.
    fn advance(&self, place: Place, byte: u8) -> Option<Place> {
        match (place, byte) {
            (Place::At(at), b'+') => self
                .wildcard_allowed()
                .then(|| Place::At(self.level_end(at))),
            (Place::At(_), b'#') => self.wildcard_allowed().then_some(Place::Everything),
            (Place::At(at), _) => match self.topic.get(at) {
                Some(found) => (*found == byte).then_some(Place::At(at + 1)),
                None => (byte == b'/').then_some(Place::Parent),
            },
            (Place::Parent, b'#') => Some(Place::Everything),
            (Place::Parent | Place::Everything, _) => None,
        }
    }

    fn push_children(&mut self, place: Place, branch: &'a Branch<RouteOptions>) {
        let path_len = self.path.len();
        let pending = &mut self.pending;
        let mut push = |byte| {
            if let Some(child) = branch.child(byte) {
                pending.push((child, place, path_len));
            }
        };
        match place {
            Place::Everything => push(FILTER_END),
            Place::Parent => push(b'#'),
            Place::At(at) => {
                push(b'#');
                push(b'+');
                match self.topic.get(at) {
                    Some(byte) => push(*byte),
                    None => {
                        push(b'/');
                        push(FILTER_END);
                    }
                }
            }
        }
    }

    /// MQTT-4.7.2-1, for a wildcard that follows the present path. Filters hold wildcards only
    /// where a level starts.
    fn wildcard_allowed(&self) -> bool {
        !self.path.is_empty() || self.topic.first() != Some(&b'$')
    }

    /// Where the level ends that starts at `at`.
    fn level_end(&self, at: usize) -> usize {
        let rest = self.topic.get(at..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == b'/');
        at + len.unwrap_or(rest.len())
    }
}

/// Visits every leaf at or below `node` with its whole path. The first `path_len` bytes of `path`
/// lead to the node.
fn for_each_leaf(
    node: &RouteNode,
    path_len: usize,
    path: &mut Vec<u8>,
    visit: &mut dyn FnMut(&[u8], RouteOptions),
) {
    let mut pending: SmallVec<[(&RouteNode, usize); PATHS_INLINE]> = smallvec![(node, path_len)];
    while let Some((node, path_len)) = pending.pop() {
        path.truncate(path_len);
        path.extend_from_slice(node.label());
        match node.below() {
            Below::Value(options) => visit(path, *options),
            Below::Children(branch) => {
                pending.extend(branch.children().rev().map(|child| (child, path.len())));
            }
        }
    }
}

fn path_to(filter: &FilterSpec, receiver: &Receiver) -> Vec<u8> {
    let mut path = filter.filter.as_bytes().to_vec();
    path.push(FILTER_END);
    put_tail(&mut path, filter.share.as_ref(), receiver);
    path
}

fn path_to_identity(identity: &Identity) -> Vec<u8> {
    let (mut path, tail) = split_levels(identity.as_bytes()).unwrap_or_default();
    debug_assert!(!path.is_empty(), "an identity was checked when it was made");
    path.push(FILTER_END);
    path.extend_from_slice(tail);
    path
}

fn parse_filter(text: &[u8]) -> Option<TopicFilter> {
    let filter = TopicFilter::try_from(Bytes::copy_from_slice(text)).ok();
    debug_assert!(filter.is_some(), "a filter was checked when it went in");
    filter
}

fn route_of(filter: TopicFilter, tail: &[u8], options: RouteOptions) -> Option<Route> {
    let parsed = parse_tail(tail).ok();
    debug_assert!(parsed.is_some(), "a receiver was checked when it went in");
    let (share, receiver) = parsed?;
    Some(Route {
        filter: FilterSpec { share, filter },
        receiver,
        options,
    })
}

#[cfg(test)]
mod tests;

//! Deficit round robin: who goes into the next batch.
//!
//! Each scope (a tenant, or the group itself) has its own queue. A turn gives a queue a quantum of
//! bytes, and it sends what it can pay for; what is left over is kept for its next turn, unless
//! it has nothing more to send. So over time every busy scope gets the same share of bytes,
//! whatever the others queue, and a scope's own commands stay in order.

use std::collections::{HashMap, VecDeque};

use crate::machine::Scope;

/// Bytes that a scope may send per turn. Small, so that one batch serves many tenants; a larger
/// command saves up over several turns.
pub(crate) const QUANTUM_BYTES: usize = 8 * 1024;

/// Queues by scope. Costs O(1) per command; memory only for scopes that have something queued.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    flows: HashMap<Scope, Flow<T>>,
    /// Scopes with something queued, the next to be served in front.
    ring: VecDeque<Scope>,
    bytes: usize,
}

#[derive(Debug)]
struct Flow<T> {
    waiting: VecDeque<(usize, T)>,
    deficit: usize,
    /// It was given its quantum and the batch was full before it had spent it.
    mid_turn: bool,
}

impl<T> FairQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            flows: HashMap::new(),
            ring: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Queues an item that costs `bytes`.
    pub(crate) fn push(&mut self, scope: Scope, bytes: usize, item: T) {
        let flow = self.flows.entry(scope).or_insert_with(|| {
            self.ring.push_back(scope);
            Flow {
                waiting: VecDeque::new(),
                deficit: 0,
                mid_turn: false,
            }
        });
        flow.waiting.push_back((bytes, item));
        self.bytes += bytes;
    }

    /// Bytes queued.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Takes the next batch: at most `count_max` items and `bytes_max` bytes, but at least one
    /// item if there is any.
    pub(crate) fn form(&mut self, bytes_max: usize, count_max: usize) -> Vec<(Scope, T)> {
        let mut batch = Batch {
            items: Vec::new(),
            bytes: 0,
            bytes_max,
            count_max,
        };
        while let Some(scope) = self.ring.pop_front() {
            let Some(flow) = self.flows.get_mut(&scope) else {
                continue;
            };
            let turn = flow.serve(scope, &mut batch);
            match turn {
                Turn::Empty => {
                    self.flows.remove(&scope);
                }
                Turn::Spent => self.ring.push_back(scope),
                Turn::BatchFull => {
                    self.ring.push_front(scope);
                    break;
                }
            }
        }
        self.bytes -= batch.bytes;
        batch.items
    }

    /// Takes everything, scope by scope.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.bytes = 0;
        let Self { flows, ring, .. } = self;
        let flows = ring.drain(..).filter_map(|scope| flows.remove(&scope));
        flows
            .flat_map(|flow| flow.waiting)
            .map(|(_, item)| item)
            .collect()
    }
}

struct Batch<T> {
    items: Vec<(Scope, T)>,
    bytes: usize,
    bytes_max: usize,
    count_max: usize,
}

impl<T> Batch<T> {
    fn has_room(&self, bytes: usize) -> bool {
        self.items.is_empty()
            || (self.items.len() < self.count_max && self.bytes + bytes <= self.bytes_max)
    }
}

/// How a scope's turn ended.
enum Turn {
    /// It has nothing queued any more.
    Empty,
    /// It could not pay for its next command.
    Spent,
    /// Its next command does not fit the batch: it goes on in the next one.
    BatchFull,
}

impl<T> Flow<T> {
    fn serve(&mut self, scope: Scope, batch: &mut Batch<T>) -> Turn {
        if !self.mid_turn {
            self.deficit += QUANTUM_BYTES;
        }
        self.mid_turn = false;
        while let Some((bytes, _)) = self.waiting.front() {
            let bytes = *bytes;
            if !batch.has_room(bytes) {
                self.mid_turn = true;
                return Turn::BatchFull;
            }
            if bytes > self.deficit {
                return Turn::Spent;
            }
            self.deficit -= bytes;
            batch.bytes += bytes;
            batch
                .items
                .extend(self.waiting.pop_front().map(|(_, item)| (scope, item)));
        }
        Turn::Empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::TenantId;

    fn tenant(number: u8) -> Scope {
        Scope::Tenant(TenantId::from_bytes([number; 16]))
    }

    #[test]
    fn a_small_tenant_rides_in_the_first_batch_behind_a_flood() {
        let mut queue = FairQueue::new();
        for i in 0..10_000 {
            queue.push(tenant(1), 1000, i);
        }
        queue.push(tenant(2), 100, 0);
        let batch = queue.form(64 * 1024, 4096);
        assert!(batch.iter().any(|(scope, _)| *scope == tenant(2)));
    }

    #[test]
    fn busy_tenants_get_the_same_bytes_whatever_their_command_sizes() {
        let mut queue = FairQueue::new();
        let sizes = [100, 1000, 10_000, 100_000];
        let mut sent = [0usize; 4];
        for _ in 0..200 {
            for (i, (scope, size)) in (0..).map(tenant).zip(sizes).enumerate() {
                let queued = |queue: &FairQueue<usize>| {
                    queue
                        .flows
                        .get(&scope)
                        .map_or(0, |flow| flow.waiting.len() * size)
                };
                while queued(&queue) < 400_000 {
                    queue.push(scope, size, i);
                }
            }
            for (_, i) in queue.form(256 * 1024, 4096) {
                sent[i] += sizes[i];
            }
        }
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= 2 * 100_000 + 2 * QUANTUM_BYTES, "{sent:?}");
    }

    #[test]
    fn a_command_larger_than_a_batch_goes_alone() {
        let mut queue = FairQueue::new();
        queue.push(tenant(1), 1_000_000, 'a');
        queue.push(tenant(2), 1_000_000, 'b');
        assert_eq!(queue.form(1000, 10).len(), 1);
        assert_eq!(queue.form(1000, 10).len(), 1);
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_a_scope_stays_in_order(
            pushes in prop::collection::vec((0u8..5, 1usize..50_000), 0..200),
            bytes_max in 1usize..100_000,
            count_max in 1usize..50,
        ) {
            let mut queue = FairQueue::new();
            for (i, (scope, bytes)) in pushes.iter().enumerate() {
                queue.push(tenant(*scope), *bytes, i);
            }
            let mut seen: HashMap<Scope, Vec<usize>> = HashMap::new();
            while !queue.is_empty() {
                let batch = queue.form(bytes_max, count_max);
                prop_assert!(!batch.is_empty() && batch.len() <= count_max);
                let bytes: usize = batch.iter().map(|(_, i)| pushes[*i].1).sum();
                prop_assert!(bytes <= bytes_max || batch.len() == 1);
                for (scope, i) in batch {
                    seen.entry(scope).or_default().push(i);
                }
            }
            prop_assert_eq!(queue.bytes(), 0);
            prop_assert_eq!(seen.values().map(Vec::len).sum::<usize>(), pushes.len());
            prop_assert!(seen.values().all(|order| order.is_sorted()));
        }
    }
}

//! Dist on a real engine: what is durable, what readers see and when, what a restart leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tessera_dist::{
    Dist, DistOptions, NodeSession, Receiver, Refusal, Route, RouteError, RouteOptions,
    SessionIncarnation, TenantRoutes,
};
use tessera_mqtt::{ClientId, FilterSpec, Qos, SubscriptionId, TopicName};
use tessera_shard::{Capacity, DiskState, Engine, EngineOptions, ProposeError};
use tessera_tenancy::{ClusterId, Incarnation, NodeId, TenantId};

const NODE: NodeId = NodeId(7);

struct Node {
    engine: Engine,
    dist: Dist,
}

impl Node {
    async fn start(folder: &Path, incarnation: u64) -> Self {
        Self::start_with(engine_options(folder, incarnation)).await
    }

    async fn start_with(options: EngineOptions) -> Self {
        let incarnation = options.incarnation;
        let engine = Engine::open(options).unwrap();
        let options = DistOptions {
            ranges: 2,
            node: NODE,
            incarnation,
        };
        let dist = Dist::open(&engine, options).await.unwrap();
        Self { engine, dist }
    }

    async fn stop(self) {
        drop(self.dist);
        self.engine.shutdown().await;
    }

    fn transient(&self) -> Receiver {
        Receiver::Transient(self.dist.node_session())
    }

    async fn add(&self, tenant: TenantId, filter: &str, receiver: &Receiver) {
        let filter = filter.try_into().unwrap();
        let added = self.dist.add_route(tenant, &filter, receiver, OPTIONS);
        added.await.unwrap();
    }

    async fn remove(&self, tenant: TenantId, filter: &str, receiver: &Receiver) {
        let filter = filter.try_into().unwrap();
        let removed = self.dist.remove_route(tenant, &filter, receiver);
        removed.await.unwrap();
    }

    async fn routes(&self, tenant: TenantId) -> Arc<TenantRoutes> {
        self.dist.tenant(tenant).await.unwrap()
    }

    /// Filters and receivers that get a message, as seen by who asks now.
    async fn matches(&self, tenant: TenantId, topic: &str) -> Vec<(String, Receiver)> {
        found(&self.routes(tenant).await, topic)
            .into_iter()
            .map(|route| (route.filter.to_string(), route.receiver))
            .collect()
    }
}

fn engine_options(folder: &Path, incarnation: u64) -> EngineOptions {
    let time = AtomicU64::new(1);
    EngineOptions::new(
        folder,
        NODE,
        ClusterId::from_bytes([3; 16]),
        Incarnation(incarnation),
        Arc::new(move || time.fetch_add(1, Ordering::Relaxed)),
    )
}

const OPTIONS: RouteOptions = RouteOptions {
    qos: Qos::ExactlyOnce,
    no_local: true,
    retain_as_published: false,
    subscription_id: SubscriptionId::new(9),
};

fn found(routes: &Arc<TenantRoutes>, topic: &str) -> Vec<Route> {
    let topic = TopicName::try_from(topic).unwrap();
    let mut found = Vec::new();
    routes
        .snapshot()
        .for_each_match(&topic, &mut |route| found.push(route.clone()));
    found.sort();
    found
}

fn persistent(client: &str, incarnation: u64) -> Receiver {
    Receiver::Persistent {
        client: ClientId::try_from(client).unwrap(),
        incarnation: SessionIncarnation(incarnation),
    }
}

/// Tenants on both sides of the cut between the ranges.
fn tenants() -> [TenantId; 2] {
    [0x11, 0xee].map(|byte| TenantId::from_bytes([byte; 16]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_is_in_every_snapshot_that_is_taken_after_it_was_added() {
    const ROUNDS: usize = 200;
    let folder = TempDir::new().unwrap();
    let node = Arc::new(Node::start(folder.path(), 1).await);
    let tasks = tenants().into_iter().flat_map(|tenant| {
        let node = Arc::clone(&node);
        (0..4).map(move |writer| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let held = node.routes(tenant).await;
                for round in 0..ROUNDS / 4 {
                    let topic = format!("w/{writer}/{round}");
                    let receiver = persistent(&topic, 1);
                    let before = held.generation();
                    node.add(tenant, &topic, &receiver).await;
                    assert!(held.generation() > before);
                    assert_eq!(found(&held, &topic).len(), 1, "through a held handle");
                    assert_eq!(node.matches(tenant, &topic).await.len(), 1);
                    if round % 3 == 0 {
                        let before = held.generation();
                        node.remove(tenant, &topic, &receiver).await;
                        assert!(held.generation() > before);
                        assert_eq!(found(&held, &topic).len(), 0, "removed");
                    }
                }
            })
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_read_while_routes_come_and_go_misses_none() {
    let folder = TempDir::new().unwrap();
    let node = Arc::new(Node::start(folder.path(), 1).await);
    let [tenant, _] = tenants();
    let session = node.transient();
    let mut adding = Vec::new();
    for number in 0..2_500 {
        let filter = format!("d/{number}").as_str().try_into().unwrap();
        adding.push(node.dist.add_route(tenant, &filter, &session, OPTIONS));
    }
    for added in adding {
        added.await.unwrap();
    }
    for round in 0..20 {
        node.dist.evict_idle();
        node.dist.evict_idle();
        assert_eq!(node.dist.tenants_loaded(), 0, "read again in each round");
        let reader = tokio::spawn({
            let node = Arc::clone(&node);
            async move { node.routes(tenant).await }
        });
        let filter = format!("d/{round}/new");
        node.add(tenant, &filter, &session).await;
        node.remove(tenant, &format!("d/{round}"), &session).await;
        assert_eq!(node.matches(tenant, &filter).await.len(), 1);
        let read = reader.await.unwrap();
        assert_eq!(found(&read, &filter).len(), 1);
        assert_eq!(found(&read, &format!("d/{round}")).len(), 0);
        assert_eq!(read.snapshot().len(), 2_500);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_askers_gets_the_same_routes() {
    let folder = TempDir::new().unwrap();
    let node = Arc::new(Node::start(folder.path(), 1).await);
    let [tenant, _] = tenants();
    node.add(tenant, "a", &node.transient()).await;
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.routes(tenant).await })
        })
        .collect();
    let first = node.routes(tenant).await;
    assert_eq!(first.snapshot().len(), 1);
    for asked in asking {
        assert!(Arc::ptr_eq(&asked.await.unwrap(), &first));
    }
    assert_eq!(node.dist.tenants_loaded(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_persistent_routes_and_drops_the_transient_ones_of_the_former_life() {
    const TRANSIENT: usize = 1_200;
    let folder = TempDir::new().unwrap();
    let former = {
        let node = Node::start(folder.path(), 1).await;
        let session = node.transient();
        for tenant in tenants() {
            node.add(tenant, "a/+", &persistent("c", 4)).await;
            node.add(tenant, "gone", &persistent("c", 4)).await;
            node.remove(tenant, "gone", &persistent("c", 4)).await;
            node.add(tenant, "$share/g/a/b", &session).await;
            let adding: Vec<_> = (0..TRANSIENT)
                .map(|number| {
                    let filter = format!("t/{number}").as_str().try_into().unwrap();
                    node.dist.add_route(tenant, &filter, &session, OPTIONS)
                })
                .collect();
            for added in adding {
                added.await.unwrap();
            }
            assert_eq!(node.routes(tenant).await.snapshot().len(), TRANSIENT + 2);
        }
        node.stop().await;
        session
    };

    let node = Node::start(folder.path(), 2).await;
    for tenant in tenants() {
        assert_eq!(node.routes(tenant).await.snapshot().len(), 1);
        let route = Route {
            filter: "a/+".try_into().unwrap(),
            receiver: persistent("c", 4),
            options: OPTIONS,
        };
        assert_eq!(found(&node.routes(tenant).await, "a/b"), [route]);

        let filter = FilterSpec::try_from("a/b").unwrap();
        let late = node.dist.add_route(tenant, &filter, &former, OPTIONS).await;
        assert_eq!(late, Err(RouteError::Refused(Refusal::SessionEnded)));
        node.add(tenant, "a/b", &node.transient()).await;
        assert_eq!(node.matches(tenant, "a/b").await.len(), 2);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_life_of_a_node_has_a_larger_session() {
    let folder = TempDir::new().unwrap();
    let mut last = 0;
    for incarnation in [1, 2, 9] {
        let node = Node::start(folder.path(), incarnation).await;
        let NodeSession { node: of, number } = node.dist.node_session();
        assert_eq!(of, NODE);
        assert!(number > last);
        last = number;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_never_see_each_other() {
    let folder = TempDir::new().unwrap();
    let node = Node::start(folder.path(), 1).await;
    let close = |last| {
        let mut bytes = [0x11; 16];
        bytes[15] = last;
        TenantId::from_bytes(bytes)
    };
    // Neighbours in the key space, and one in the other range.
    let all = [
        close(0x10),
        close(0x11),
        close(0x12),
        TenantId::from_bytes([0xee; 16]),
    ];
    let filters = ["#", "+/#", "a", "+", "a/#", "$share/g/#"];
    for (at, tenant) in all.into_iter().enumerate() {
        let mine = persistent(&format!("owner-{at}"), 1);
        for filter in filters {
            node.add(tenant, filter, &mine).await;
            node.add(tenant, filter, &node.transient()).await;
        }
    }
    for (at, tenant) in all.into_iter().enumerate() {
        let found = node.matches(tenant, "a").await;
        assert_eq!(found.len(), 2 * filters.len());
        let mine = persistent(&format!("owner-{at}"), 1);
        let own = |receiver: &Receiver| *receiver == mine || *receiver == node.transient();
        assert!(found.iter().all(|(_, receiver)| own(receiver)));
    }
    for filter in filters {
        node.remove(all[1], filter, &persistent("owner-1", 1)).await;
        node.remove(all[1], filter, &persistent("owner-2", 1)).await;
    }
    assert_eq!(node.matches(all[1], "a").await.len(), filters.len());
    for tenant in [all[0], all[2], all[3]] {
        assert_eq!(node.matches(tenant, "a").await.len(), 2 * filters.len());
    }
    let stranger = close(0x13);
    assert_eq!(node.routes(stranger).await.snapshot().len(), 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_options_of_a_route_hold_and_come_in_the_order_of_the_calls() {
    let folder = TempDir::new().unwrap();
    let node = Node::start(folder.path(), 1).await;
    let [tenant, _] = tenants();
    let filter = FilterSpec::try_from("a").unwrap();
    let receiver = persistent("c", 1);
    let with_id = |number| RouteOptions {
        subscription_id: SubscriptionId::new(number),
        ..OPTIONS
    };
    let mut calls = Vec::new();
    for number in 1..=50 {
        calls.push(
            node.dist
                .add_route(tenant, &filter, &receiver, with_id(number)),
        );
    }
    for call in calls {
        call.await.unwrap();
    }
    let snapshot = node.routes(tenant).await.snapshot();
    assert_eq!(snapshot.get(&filter, &receiver), Some(with_id(50)));
    assert_eq!(snapshot.len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_removed_though_the_disk_is_full_and_added_again_soon_after() {
    let folder = TempDir::new().unwrap();
    let mut options = engine_options(folder.path(), 1);
    options.capacity = Capacity::Bytes(6 << 20);
    options.checkpoint_interval = Duration::from_millis(200);
    let node = Node::start_with(options).await;
    let [tenant, _] = tenants();
    let receiver = persistent("c", 1);
    let level = "x".repeat(20_000);
    let filter = |number: usize| FilterSpec::try_from(format!("{number}/{level}").as_str());
    let mut added = 0;
    let refused = loop {
        let filter = filter(added).unwrap();
        let adding = node.dist.add_route(tenant, &filter, &receiver, OPTIONS);
        match adding.await {
            Ok(()) => added += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, RouteError::Propose(ProposeError::DiskFull));
    let mut state = node.engine.disk_state();
    assert_eq!(*state.borrow(), DiskState::Full);
    for number in 0..added {
        let filter = filter(number).unwrap();
        let removed = node.dist.remove_route(tenant, &filter, &receiver);
        removed.await.unwrap();
    }
    let roomy = state.wait_for(|state| *state == DiskState::Roomy);
    let waited = tokio::time::timeout(Duration::from_secs(10), roomy).await;
    assert!(waited.is_ok_and(|state| state.is_ok()));
    node.add(tenant, "a/b", &receiver).await;
    node.stop().await;
}

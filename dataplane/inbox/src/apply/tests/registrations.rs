//! Clients of several nodes: registered with one, found by the next.

use tessera_tenancy::NodeId;

use super::*;
use crate::answer::Registered as RegisteredNode;
use crate::registration::OwnerNode;

const fn node(node: u64, number: u64) -> OwnerNode {
    OwnerNode {
        node: NodeId(node),
        number,
    }
}

impl World {
    fn register(
        &mut self,
        client: &str,
        principal: PrincipalId,
        stored: bool,
        owner: OwnerNode,
    ) -> (AttachOutcome, Option<RegisteredNode>) {
        let attach = Attach {
            client: client.as_bytes(),
            principal,
            clean_start: false,
            create: stored,
            expiry_seconds: if stored { 60 } else { 0 },
            will: None,
            owner: Some(owner),
        };
        let answer = self.obey(tenant(1), &Command::Attach(attach));
        invariants::check(&self.rows);
        let Answer::Attach {
            outcome,
            registered,
            ..
        } = answer
        else {
            panic!("{answer:?}")
        };
        (outcome, registered)
    }

    fn end_registration(&mut self, command: &Command<'_>) -> Answer {
        let answer = self.obey(tenant(1), command);
        invariants::check(&self.rows);
        answer
    }

    fn registered_with(&self, client: &str) -> Option<OwnerNode> {
        let row = query::registration(&self.rows, tenant(1), client.as_bytes()).unwrap();
        row.map(|row| row.owner)
    }
}

#[test]
fn the_next_attach_finds_the_node_of_the_one_before_and_a_larger_number() {
    for stored in [false, true] {
        let mut world = World::new();
        let (_, first) = world.register("a", OWN, stored, node(1, 1));
        let (_, second) = world.register("a", OWN, stored, node(2, 5));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.former, second.former), (None, Some(node(1, 1))));
        assert!(first.registration < second.registration);
        assert_eq!(world.registered_with("a"), Some(node(2, 5)));
    }
}

#[test]
fn a_transient_client_of_another_principal_is_not_taken_over() {
    let mut world = World::new();
    world.register("a", OWN, false, node(1, 1));
    let (outcome, registered) = world.register("a", OTHER, false, node(2, 1));
    assert_eq!((outcome, registered), (AttachOutcome::OtherPrincipal, None));
    assert_eq!(world.registered_with("a"), Some(node(1, 1)));
}

#[test]
fn an_old_registration_is_neither_left_nor_released() {
    let mut world = World::new();
    let (_, old) = world.register("a", OWN, false, node(1, 1));
    let (_, new) = world.register("a", OWN, false, node(2, 1));
    let (old, new) = (old.unwrap().registration, new.unwrap().registration);
    let leave = |registration| Command::Leave {
        client: b"a",
        registration,
    };
    let release = |registration| Command::Release {
        client: b"a",
        registration: Some(registration),
    };
    assert_eq!(world.end_registration(&leave(old)), Answer::Stale);
    assert_eq!(world.end_registration(&release(old)), Answer::Done);
    assert_eq!(world.registered_with("a"), Some(node(2, 1)));
    assert_eq!(world.end_registration(&leave(new)), Answer::Done);
    assert_eq!(world.registered_with("a"), None);
    assert_eq!(world.end_registration(&leave(new)), Answer::Stale);
}

#[test]
fn a_stored_session_whose_node_is_gone_goes_offline_and_one_that_moved_does_not() {
    let mut world = World::new();
    let (_, gone) = world.register("gone", OWN, true, node(1, 1));
    let (_, moved) = world.register("moved", OWN, true, node(1, 1));
    world.register("moved", OWN, true, node(2, 1));
    for (client, registered) in [("gone", gone), ("moved", moved)] {
        let release = Command::Release {
            client: client.as_bytes(),
            registration: Some(registered.unwrap().registration),
        };
        world.end_registration(&release);
    }
    let is_online = |client: &str| {
        let session = query::session(&world.rows, tenant(1), client.as_bytes()).unwrap();
        session.unwrap().presence == crate::rows::Presence::Online
    };
    assert!(!is_online("gone"));
    assert!(is_online("moved"));
    assert_eq!(world.registered_with("gone"), None);
}

#[test]
fn a_session_that_is_left_is_registered_nowhere() {
    let mut world = World::new();
    let (outcome, _) = world.register("a", OWN, true, node(1, 1));
    let AttachOutcome::Owned {
        incarnation, epoch, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    let detach = Command::Detach {
        fence: Fence {
            client: b"a",
            incarnation,
            epoch,
        },
        expiry_seconds: None,
        sent_below: 0,
        will: WillEnd::Dropped,
    };
    world.end_registration(&detach);
    assert_eq!(world.registered_with("a"), None);
}

//! The database goes away and comes back.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::postgres::Database;
use crate::rig::Rig;

/// How a database that is reached through the line behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// As it is.
    Open,
    /// It takes everything and says nothing.
    Hung,
    /// It closes every connection.
    Down,
}

/// Forwards a port to the cluster's socket.
async fn line() -> (u16, watch::Sender<Line>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (state, watching) = watch::channel(Line::Open);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(forward(stream, watching.clone()));
        }
    });
    (port, state)
}

async fn forward(mut near: TcpStream, mut state: watch::Receiver<Line>) {
    let mut far = UnixStream::connect(Database::socket()).await.unwrap();
    loop {
        let now = *state.borrow_and_update();
        match now {
            Line::Down => return,
            Line::Hung => drop(state.changed().await),
            Line::Open => {
                tokio::select! {
                    ended = copy_bidirectional(&mut near, &mut far) => return drop(ended),
                    _ = state.changed() => {}
                }
            }
        }
    }
}

#[tokio::test]
async fn requests_are_refused_in_time_and_served_again() {
    let (port, state) = line().await;
    let database = Database::create().await;
    let url = database.url_through(port);
    let rig = Rig::start_at(database, url).await;
    rig.tenant("acme").await;
    for outage in [Line::Down, Line::Hung] {
        state.send_replace(outage);
        for round in 0..2 {
            let started = Instant::now();
            let body = json!({"slug": "late", "plan": "free"});
            let (read, write, ready) = tokio::join!(
                rig.get("/v1/tenants").refused(503, "store_unavailable"),
                rig.post("/v1/tenants", &body)
                    .refused(503, "store_unavailable"),
                rig.call(Method::GET, "/readyz").send(),
            );
            let took = started.elapsed();
            assert!(
                took < Duration::from_millis(2_300),
                "{outage:?} {round}: {took:?}"
            );
            assert_eq!(
                (read.header("retry-after"), write.header("retry-after")),
                ("1", "1")
            );
            assert_eq!(ready.status, 503);
        }
        rig.call(Method::GET, "/healthz").expect(200).await;
        state.send_replace(Line::Open);
        let deadline = Instant::now() + Duration::from_secs(10);
        while rig.call(Method::GET, "/readyz").send().await.status != 200 {
            assert!(Instant::now() < deadline, "it comes back after {outage:?}");
        }
        rig.get("/v1/tenants/late").refused(404, "not_found").await;
    }
    rig.post("/v1/tenants", &json!({"slug": "late", "plan": "free"}))
        .expect(201)
        .await;
}

use std::time::Instant;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use super::kit::*;
use bytes::Bytes;
use crate::Scope;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perf() {
    let temp = tempfile::Builder::new().tempdir_in("/work/main/target").unwrap();
    let f = std::fs::File::create(temp.path().join("raw")).unwrap();
    f.write_all_at(&vec![0; 1<<20], 0).unwrap(); f.sync_all().unwrap();
    let mut raw = vec![];
    for i in 0..300u64 { let t = Instant::now(); f.write_all_at(&[1; 4096], (i%200)*4096).unwrap(); f.sync_data().unwrap(); raw.push(t.elapsed().as_micros()); }
    raw.sort(); println!("raw fdatasync p50 {} p99 {}", raw[150], raw[297]);
    let (engine, store) = open(&temp.path().join("e"), 1).await;
    let mut one = vec![];
    for i in 0..1000u64 { let t = Instant::now(); add(&store, tenant(1), &i.to_le_bytes()).await; one.push(t.elapsed().as_micros()); }
    one.sort(); println!("one writer p50 {} p99 {} max {}", one[500], one[990], one[999]);
    let rep = |what: &str| { for (n, v) in [("log txn", &crate::log::T_LOG), ("log commit", &crate::log::T_SYNC), ("apply txn", &crate::state::T_APPLY)] { let mut v = std::mem::take(&mut *v.lock()); v.sort(); println!("{what} {n}: n {} p50 {} p99 {}", v.len(), v[v.len()/2], v[v.len()*99/100]); } };
    rep("one");
    for n in [16usize, 256, 2000] {
        let t = Instant::now();
        let mut js = tokio::task::JoinSet::new();
        let per = 6000 / n;
        for w in 0..n { let store = store.clone(); js.spawn(async move {
            let mut lat = vec![];
            for i in 0..per { let t = Instant::now(); let ten = tenant((w % 256) as u8); let name = ((n as u64) << 40) + (w as u64) << 20 | i as u64; let name = [&name.to_le_bytes()[..], &[7u8; 192]].concat();
                store.shard_for(ten, b"").propose(Scope::Tenant(ten), Bytes::from(name)).await.unwrap(); lat.push(t.elapsed().as_micros()); }
            lat }); }
        let mut lat = vec![]; while let Some(l) = js.join_next().await { lat.extend(l.unwrap()); }
        lat.sort();
        println!("{n} writers: {:.0}/s p50 {} p99 {} max {}", lat.len() as f64 / t.elapsed().as_secs_f64(), lat[lat.len()/2], lat[lat.len()*99/100], lat[lat.len()-1]);
        rep("many");
    }
    let t = Instant::now(); engine.shutdown().await; println!("shutdown {:?}", t.elapsed());
    let t = Instant::now(); let (engine, _s) = open(&temp.path().join("e"), 2).await; println!("open {:?}", t.elapsed());
    for e in std::fs::read_dir(temp.path().join("e")).unwrap() { let e = e.unwrap(); println!("{:?} {}", e.file_name(), e.metadata().unwrap().len()); }
    engine.shutdown().await;
    std::io::stdout().flush().unwrap();
}

//! A measurement, run by hand: `cargo test -p pintle-store -- --ignored --nocapture throughput`.

use std::time::Instant;

use pintle_store::{Store, embedded};

use crate::write;

const WRITERS: usize = 100;
const WRITES: usize = 200;
const VALUE_BYTES: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn throughput_of_a_hundred_writers() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let path = directory.path().join("store");
    let store = embedded::open(&path, embedded::Options::default()).unwrap();
    for (what, writers, writes) in [("new keys", WRITERS, WRITES), ("same keys", WRITERS, WRITES), ("thirty", 30, WRITES), ("alone", 1, 1000)] {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in 0..writes {
                        let key = format!("/registry/pods/default/{writer}-{n}").into();
                        let value = vec![n as u8; VALUE_BYTES].into();
                        store.commit(write([pintle_store::Op::Put { key, value }])).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let (seconds, cpu, commits) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu, (writers * writes) as f64);
        println!("{what}: {:.0} commits/s, {:.1} µs of CPU each, {:.0} µs each", commits / seconds, cpu / commits * 1e6, seconds / commits * 1e6);
    }
    store.close().await.unwrap();
    println!("file: {} KiB", std::fs::metadata(&path).unwrap().len() / 1024);
}

/// User and system time of this process, from /proc in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

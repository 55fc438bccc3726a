//! One node against a running API server, for trying the kubelet by hand:
//! `node DATA_DIR NODE_IP KUBECONFIG CA CERT KEY [IMAGE...]`, or `node DATA_DIR clean`.
//!
//! CNI configuration is read from `DATA_DIR/cni/net.d`. Run it in a network namespace of its own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pintle_client::kubeconfig::{Kubeconfig, Overrides};
use pintle_node::NodeConfig;

const NAME: &str = "node-1";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("usage: node DATA_DIR NODE_IP KUBECONFIG CA CERT KEY [IMAGE...]");
    let data_dir = PathBuf::from(next()?);
    let address = next()?;
    if address == "clean" {
        pintle_node::clean_up(NAME, &data_dir, None).await?;
        return Ok(());
    }
    let address: IpAddr = address.parse()?;
    let client = pintle_client::HttpClient::new(&Kubeconfig::read(next()?)?.config(&Overrides::default())?)?;
    let ca = std::fs::read_to_string(next()?)?;
    let (cert, key) = (std::fs::read_to_string(next()?)?, std::fs::read_to_string(next()?)?);
    let mut config = NodeConfig::new(NAME, &data_dir, Arc::new(client), address, ca);
    config.serving = Some((cert, key));
    config.preload = args.map(PathBuf::from).collect();
    let stop = config.stop.clone();
    tokio::spawn(async move {
        tokio::signal::ctrl_c().await.ok();
        stop.cancel();
    });
    pintle_node::run(config).await?;
    Ok(())
}

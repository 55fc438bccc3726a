//! The API server alone, for trying it by hand: `serve DATA_DIR LISTEN KUBECONFIG_OUT`.

use std::path::Path;

use pintle_apiserver::{Config, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let data_dir = args.next().ok_or("usage: serve DATA_DIR LISTEN KUBECONFIG_OUT")?;
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:6443".to_owned()).parse()?;
    let start = std::time::Instant::now();
    let server = Server::start(Config::new(data_dir, listen)).await?;
    if let Some(kubeconfig) = args.next() {
        server.pki().write_admin_kubeconfig(Path::new(&kubeconfig), &format!("https://{}", server.address()))?;
    }
    eprintln!("ready at {} after {:?}", server.address(), start.elapsed());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await?;
    Ok(())
}

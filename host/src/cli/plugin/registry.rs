//! `plugin push`, `pull` and `sign`: components in OCI registries, and signatures of them. Works without a cluster.
//!
//! Who asks is told from `--username`, else from Docker's own configuration file, which `docker login` and its like write.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use pintle_plugins::source::oci::{self, Login, Registry};
use pintle_plugins::source::signature;
use pintle_plugins::source::web::Trust;
use wit_component::DecodedWasm;

use crate::cli::print;

#[derive(clap::Args, Debug)]
pub struct RegistryArgs {
    /// The user to log in as; the password comes from standard input
    #[arg(long)]
    username: Option<String>,
    /// PEM certificates of authorities that count besides the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Without TLS. A registry on this machine's loopback is reached so anyway
    #[arg(long)]
    plain_http: bool,
}

#[derive(clap::Args, Debug)]
pub struct PushArgs {
    /// The component (.wasm)
    file: PathBuf,
    /// REGISTRY/REPOSITORY:TAG
    reference: String,
    /// Sign what was pushed, as cosign does: an ECDSA P-256 private key in PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(clap::Args, Debug)]
pub struct PullArgs {
    /// REGISTRY/REPOSITORY[:TAG][@DIGEST]
    reference: String,
    /// Where to write the component
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(clap::Args, Debug)]
pub struct SignArgs {
    /// The component (.wasm); the signature goes to FILE.sig beside it
    file: PathBuf,
    /// An ECDSA P-256 private key in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub async fn push(args: PushArgs) -> Result<ExitCode> {
    let component = read(&args.file)?;
    let (imports, exports) = interface(&component)?;
    let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let config = oci::config_of(&component, &imports, &exports, &created);
    let registry = args.registry.open(&args.reference)?;
    let manifest = registry.push(component, &config).await.map_err(|why| anyhow!("{}: {why}", args.reference))?;
    print::line(&registry.pinned(&manifest));
    if let Some(key) = &args.key {
        registry.sign(&manifest, &private_key(key)?).await.map_err(|why| anyhow!("signing {}: {why}", args.reference))?;
        print::line(&format!("signed {manifest}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn pull(args: PullArgs) -> Result<ExitCode> {
    let registry = args.registry.open(&args.reference)?;
    let pulled = registry.pull(None).await.map_err(|why| anyhow!("{}: {why}", args.reference))?;
    std::fs::write(&args.output, &pulled.bytes).with_context(|| format!("writing {}", args.output.display()))?;
    print::line(&registry.pinned(&pulled.manifest));
    Ok(ExitCode::SUCCESS)
}

pub fn sign(args: &SignArgs) -> Result<ExitCode> {
    let signed = signature::sign(&private_key(&args.key)?, &read(&args.file)?).map_err(|why| anyhow!("{}: {why}", args.key.display()))?;
    let beside = signature_file(&args.file);
    std::fs::write(&beside, signed).with_context(|| format!("writing {}", beside.display()))?;
    print::line(&beside.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Where a file's signature lies.
pub fn signature_file(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

impl RegistryArgs {
    fn open(&self, reference: &str) -> Result<Registry> {
        let authorities = match &self.ca_file {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        let trust = Trust { authorities, plain_http: self.plain_http };
        let login = self.login(&oci::registry_of(reference).unwrap_or_default())?;
        Registry::open(reference, &trust, login).map_err(|why| anyhow!(why))
    }

    fn login(&self, registry: &str) -> Result<Option<Login>> {
        if let Some(user) = &self.username {
            let mut password = String::new();
            std::io::stdin().read_to_string(&mut password).context("reading the password from standard input")?;
            return Ok(Some(Login { user: user.clone(), password: password.trim_end_matches(['\r', '\n']).to_owned() }));
        }
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
        let config = folder.and_then(|folder| std::fs::read(folder.join("config.json")).ok());
        Ok(config.and_then(|config| oci::login_from(&config, registry)))
    }
}

/// What a component imports and exports, by name. Refuses what is none.
fn interface(component: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let decoded = wit_component::decode(component).map_err(|error| anyhow!("not a component: {error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else { bail!("a WIT package, not a component") };
    let world = &resolve.worlds[world];
    let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    Ok((imports, exports))
}

fn private_key(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("reading {}", file.display()))
}

//! Where Postgres's server programs are: on PATH, where Debian hides them, in an archive of Maven Central,
//! or installed now with apt. In this order; the first that is there is used.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::is_root;

/// The version of the archive that is fetched if nothing is installed.
const ARCHIVE_VERSION: &str = "16.4.0";
const GROUP: &str = "io.zonky.test.postgres";
/// The base address of a Maven repository, for machines with curl and without Maven.
const REPOSITORY: &str = "NOCTUS_MAVEN_REPOSITORY";
/// What is installed with apt when nothing else is there.
const APT_LINE: &str = "apt-get install -y --no-install-recommends postgresql";

/// A folder that holds `postgres` and `initdb`.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    fn at(folder: &Path) -> Option<Self> {
        let both = ["postgres", "initdb"].iter().all(|name| folder.join(name).is_file());
        both.then(|| Self(folder.to_path_buf()))
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.0.join("initdb")
    }
}

/// Finds the programs, or fetches or installs them.
pub async fn find(say: &dyn Fn(&str)) -> anyhow::Result<Programs> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    let cache = cache();
    if let Some(found) = Programs::at(&cache.join("bin")) {
        return Ok(found);
    }
    say("Postgres is not installed: fetching its programs (about 15 MB, once)");
    let fetched = tokio::task::spawn_blocking(move || fetch(&cache)).await?;
    let why = match fetched {
        Ok(found) => return Ok(found),
        Err(error) => format!("{error:#}"),
    };
    if is_root() && on_path("apt-get").is_some() {
        say(&format!("could not ({why}): {APT_LINE}"));
        tokio::task::spawn_blocking(apt).await??;
        return installed().context("apt-get installed postgresql, and its programs are not there");
    }
    bail!("Postgres is not installed and could not be fetched ({why}). Run: sudo {APT_LINE}")
}

fn installed() -> Option<Programs> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // What is on PATH may be a link from elsewhere; the server finds its libraries by its real place.
    let on_path = std::env::split_paths(&path).filter_map(|folder| {
        let real = folder.join("postgres").canonicalize().ok()?;
        Programs::at(real.parent()?)
    });
    on_path.chain(debian(Path::new("/usr/lib/postgresql"))).next()
}

/// Debian's folders, the newest version first.
fn debian(root: &Path) -> Vec<Programs> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .collect();
    versions.sort();
    versions.iter().rev().filter_map(|(_, bin)| Programs::at(bin)).collect()
}

/// Root's own folders are closed to the user that Postgres will run as.
fn cache() -> PathBuf {
    let base = match (is_root(), std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (true, _, _) => PathBuf::from("/var/cache"),
        (false, Some(cache), _) => cache.into(),
        (false, None, Some(home)) => PathBuf::from(home).join(".cache"),
        (false, None, None) => std::env::temp_dir(),
    };
    base.join("noctus").join(format!("postgres-{ARCHIVE_VERSION}"))
}

fn archive() -> anyhow::Result<String> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64v8",
        other => bail!("there is no archive for {other}"),
    };
    Ok(format!("embedded-postgres-binaries-linux-{machine}"))
}

/// Fetches a jar that holds a txz that holds the programs, and unpacks both.
fn fetch(cache: &Path) -> anyhow::Result<Programs> {
    let name = archive()?;
    let staging = cache.with_extension(format!("part-{}", std::process::id()));
    std::fs::create_dir_all(&staging)
        .with_context(|| format!("cannot make {}", staging.display()))?;
    let unpacked = download(&name, &staging).and_then(|jar| unpack(&jar, &staging));
    if let Err(error) = unpacked {
        let _ = std::fs::remove_dir_all(&staging);
        return Err(error);
    }
    if is_root() {
        // The user that Postgres will run as must get there, whatever root's umask is.
        for folder in [cache.parent().unwrap_or(cache), &staging] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    // Whole or not at all, also if two demos fetch at once.
    if std::fs::rename(&staging, cache).is_err() {
        let _ = std::fs::remove_dir_all(&staging);
    }
    Programs::at(&cache.join("bin")).context("the archive does not hold postgres and initdb")
}

fn download(name: &str, staging: &Path) -> anyhow::Result<PathBuf> {
    let jar = staging.join(format!("{name}-{ARCHIVE_VERSION}.jar"));
    if let (Ok(base), Some(curl)) = (std::env::var(REPOSITORY), on_path("curl")) {
        let base = base.trim_end_matches('/');
        let path = GROUP.replace('.', "/");
        let url = format!("{base}/{path}/{name}/{ARCHIVE_VERSION}/{name}-{ARCHIVE_VERSION}.jar");
        run(Command::new(curl).args(["-fsSL", "--max-time", "300", "-o"]).arg(&jar).arg(url))?;
    } else if let Some(mvn) = on_path("mvn") {
        run(Command::new(mvn)
            .args(["-B", "-q", "dependency:copy"])
            .arg(format!("-Dartifact={GROUP}:{name}:{ARCHIVE_VERSION}:jar"))
            .arg(format!("-DoutputDirectory={}", staging.display()))
            .current_dir(staging))?;
    } else {
        bail!("there is no mvn, and no curl with {REPOSITORY} set");
    }
    Ok(jar)
}

fn unpack(jar: &Path, staging: &Path) -> anyhow::Result<()> {
    let mut unzip = if let Some(unzip) = on_path("unzip") {
        let mut command = Command::new(unzip);
        command.arg("-qo").arg(jar);
        command
    } else if let Some(tool) = on_path("jar") {
        let mut command = Command::new(tool);
        command.arg("xf").arg(jar);
        command
    } else if let Some(python) = on_path("python3") {
        let mut command = Command::new(python);
        command.args(["-m", "zipfile", "-e"]).arg(jar).arg(".");
        command
    } else {
        bail!("there is none of unzip, jar and python3 to unpack with");
    };
    run(unzip.current_dir(staging))?;
    let entries = std::fs::read_dir(staging)?.flatten().map(|entry| entry.path());
    let txz = entries.into_iter().find(|path| path.extension().is_some_and(|e| e == "txz"));
    let txz = txz.context("there is no txz in the archive")?;
    run(Command::new("tar").arg("-xJf").arg(&txz).current_dir(staging))?;
    std::fs::remove_file(txz)?;
    std::fs::remove_file(jar)?;
    Ok(())
}

fn apt() -> anyhow::Result<()> {
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut words = APT_LINE.split(' ');
    let mut install = Command::new(words.next().context("the line begins with apt-get")?);
    run(install.args(words).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = [output.stderr, output.stdout].concat();
    let told = String::from_utf8_lossy(&told);
    let first = told.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    bail!("{program} failed ({}): {first}", output.status)
}

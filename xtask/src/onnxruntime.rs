//! Obtains the shared library of ONNX Runtime and puts it where Tenon looks for it.
//!
//! The library comes out of the wheel that its project publishes for Python, because a Python package index is reached
//! from more places than release pages are. Wheel and library are pinned by their sha256: neither pip nor the index
//! has to be trusted. The library appears under its name whole or not at all.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

const VERSION: &str = "1.31.1";
const MEMBER: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";
const LIBRARY: &str = "libonnxruntime.so";
/// Wheels exist for several versions of Python; all hold the same library. We take this one, whichever Python runs pip.
const WHEEL_PYTHON: &str = "3.11";
const WITHOUT: &str =
    "Tenon runs without ONNX Runtime too, but refuses ONNX models until `tenon doctor` finds it";

/// What is pinned for one kind of machine.
struct Pin {
    platform: &'static str,
    wheel_sha256: &'static str,
    library_sha256: &'static str,
}

const X86_64: Pin = Pin {
    platform: "manylinux_2_28_x86_64",
    wheel_sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
    library_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
};
const AARCH64: Pin = Pin {
    platform: "manylinux_2_28_aarch64",
    wheel_sha256: "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
    library_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
};

/// Prints the path of the library.
pub(crate) fn obtain(wheel: Option<&Path>) -> Result<()> {
    println!("{}", obtained(wheel)?.display());
    Ok(())
}

/// The path of the library, obtained where it is missing or not the pinned one.
pub(crate) fn obtained(wheel: Option<&Path>) -> Result<PathBuf> {
    let pin = pin()?;
    let folder = folder()?;
    let library = folder.join(LIBRARY);
    if !is_pinned(&library, pin) {
        let scratch = tempfile::tempdir().context("make a folder for the download")?;
        let wheel = match wheel {
            Some(wheel) => wheel.to_owned(),
            None => download(pin, scratch.path())?,
        };
        let bytes = extract(&wheel, pin)?;
        place(&bytes, &library)?;
    }
    Ok(library)
}

fn pin() -> Result<&'static Pin> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    match (os, arch, cfg!(target_env = "gnu")) {
        ("linux", "x86_64", true) => Ok(&X86_64),
        ("linux", "aarch64", true) => Ok(&AARCH64),
        _ => bail!(
            "no ONNX Runtime is pinned for {os} on {arch} (pinned: Linux with glibc on x86_64 and aarch64); \
             install ONNX Runtime {VERSION} yourself and name its library in tenon.toml. {WITHOUT}"
        ),
    }
}

/// The folder of the library in Tenon's cache folder.
fn folder() -> Result<PathBuf> {
    Ok(cache()?.join("onnxruntime").join(VERSION))
}

/// `~/.cache/tenon`, or below `XDG_CACHE_HOME`.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
        Some(cache) if cache.is_absolute() => cache,
        _ => PathBuf::from(
            std::env::var_os("HOME")
                .context("set HOME or XDG_CACHE_HOME: one must say where caches are kept")?,
        )
        .join(".cache"),
    };
    Ok(cache.join("tenon"))
}

fn is_pinned(library: &Path, pin: &Pin) -> bool {
    fs::read(library).is_ok_and(|bytes| sha256(&bytes) == pin.library_sha256)
}

/// Lets pip fetch the wheel from whatever index it is configured for.
fn download(pin: &Pin, to: &Path) -> Result<PathBuf> {
    python_with_pip()?;
    eprintln!("downloading ONNX Runtime {VERSION} for {} with pip", pin.platform);
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--only-binary=:all:",
        ])
        .args(["--python-version", WHEEL_PYTHON, "--implementation", "cp", "--platform", pin.platform])
        .arg("--dest")
        .arg(to)
        .arg(format!("onnxruntime=={VERSION}"))
        .stdout(Stdio::from(std::io::stderr()))
        .status()
        .context("start python3")?;
    ensure!(
        status.success(),
        "pip could not download onnxruntime {VERSION} (its own message stands above). Check that this machine reaches a \
         Python package index (pip's own configuration is used), or download the wheel for {} elsewhere and run \
         `cargo xtask onnxruntime --from FILE.whl`. {WITHOUT}",
        pin.platform
    );
    let wheels = fs::read_dir(to)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    match <[PathBuf; 1]>::try_from(wheels) {
        Ok([wheel]) => Ok(wheel),
        Err(wheels) => bail!("pip was to download one file, but there are {}: {wheels:?}", wheels.len()),
    }
}

fn python_with_pip() -> Result<()> {
    let asked = Command::new("python3").args(["-m", "pip", "--version"]).output();
    match asked {
        Err(error) => bail!(
            "python3 is needed to download ONNX Runtime, and starting it fails: {error}. Install Python 3.9 or newer"
        ),
        Ok(output) if !output.status.success() => bail!(
            "python3 has no pip, which is needed to download ONNX Runtime: {}. Install it (Debian: `apt-get install python3-pip`)",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Ok(_) => Ok(()),
    }
}

/// The library's bytes, when wheel and library are the pinned ones.
fn extract(wheel: &Path, pin: &Pin) -> Result<Vec<u8>> {
    let bytes = fs::read(wheel).with_context(|| format!("read {}", wheel.display()))?;
    verify(&bytes, pin.wheel_sha256).with_context(|| {
        format!(
            "{} is not the wheel that is pinned: of onnxruntime {VERSION} for CPython {WHEEL_PYTHON} on {}",
            wheel.display(),
            pin.platform
        )
    })?;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).context("open the wheel")?;
    let mut library = Vec::new();
    archive
        .by_name(MEMBER)
        .with_context(|| format!("find {MEMBER} in the wheel"))?
        .read_to_end(&mut library)?;
    verify(&library, pin.library_sha256)
        .with_context(|| format!("{MEMBER} is not the library that is pinned"))?;
    Ok(library)
}

fn verify(bytes: &[u8], expected: &str) -> Result<()> {
    let got = sha256(bytes);
    ensure!(
        got == expected,
        "sha256 is {got}, expected {expected}; do not use it. Where a mirror serves other bytes, ask whoever runs it"
    );
    Ok(())
}

/// Writes the library beside its place and moves it there; folders that are ours are closed to others.
fn place(bytes: &[u8], library: &Path) -> Result<()> {
    let folder = library.parent().context("a library lies in a folder")?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("make {}", folder.display()))?;
    for ours in folder.ancestors().take(3) {
        fs::set_permissions(ours, Permissions::from_mode(0o700))
            .with_context(|| format!("close {} to others", ours.display()))?;
    }
    let mut new = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("write into {}", folder.display()))?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(library).with_context(|| format!("put {} in its place", library.display()))?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// The digest of bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let wheel = scratch.path().join("onnxruntime.whl");
        fs::write(&wheel, b"not the wheel").unwrap();
        let refused = format!("{:#}", extract(&wheel, &X86_64).unwrap_err());
        assert!(
            refused.contains("is not the wheel that is pinned") && refused.contains(X86_64.wheel_sha256),
            "{refused}"
        );
    }

    #[test]
    fn a_library_is_placed_whole_and_closed_to_others() {
        let scratch = tempfile::tempdir().unwrap();
        let library = scratch.path().join("tenon/onnxruntime/1").join(LIBRARY);
        place(b"first", &library).unwrap();
        place(b"second", &library).unwrap();
        assert_eq!(fs::read(&library).unwrap(), b"second");
        let folder = library.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing else is left behind");
        for ours in folder.ancestors().take(3) {
            assert_eq!(fs::metadata(ours).unwrap().permissions().mode() & 0o777, 0o700, "{}", ours.display());
        }
    }

    #[test]
    fn a_wrong_library_is_not_taken_for_the_pinned_one() {
        let scratch = tempfile::tempdir().unwrap();
        let library = scratch.path().join(LIBRARY);
        assert!(!is_pinned(&library, &X86_64));
        fs::write(&library, b"torn").unwrap();
        assert!(!is_pinned(&library, &X86_64));
    }
}

//! The image configuration, of OCI and of Docker (OCI image specification, "Image Configuration"; Docker image
//! specification 1.2).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::ImageConfig;
use crate::arch::Architecture;
use crate::digest::Digest;

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "or_null")]
    architecture: String,
    variant: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    os: String,
    #[serde(default, deserialize_with = "or_null")]
    config: Run,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    user: String,
    #[serde(deserialize_with = "or_null")]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "or_null")]
    volumes: BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "or_null")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, rename = "type", deserialize_with = "or_null")]
    kind: String,
    #[serde(default, deserialize_with = "or_null")]
    diff_ids: Vec<Digest>,
}

/// `null` where a value is expected, as Docker writes for what is empty.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A list of words; old Docker wrote a single word without the list.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::deserialize(from)? {
        None => Vec::new(),
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) => vec![word],
    })
}

/// Reads a configuration and holds it against the image's number of layers.
pub(crate) fn parse(bytes: &[u8], layers: usize) -> Result<ImageConfig> {
    let document: Document = serde_json::from_slice(bytes)?;
    let Document { architecture, variant, os, config: run, rootfs } = document;
    ensure!(
        matches!(&*rootfs.kind, "layers" | ""),
        "its root file system has the type {:?}; only \"layers\" is known",
        rootfs.kind
    );
    let diff_ids = rootfs.diff_ids;
    ensure!(
        diff_ids.len() == layers,
        "it has {} diff_ids and the image {layers} layers; they must be as many",
        diff_ids.len()
    );
    Ok(ImageConfig {
        architecture,
        variant: variant.filter(|text| !text.is_empty()),
        os,
        entrypoint: run.entrypoint,
        cmd: run.cmd,
        env: run.env,
        user: run.user,
        working_dir: run.working_dir,
        stop_signal: run.stop_signal.filter(|text| !text.is_empty()),
        volumes: run.volumes.into_keys().collect(),
        labels: run.labels,
        diff_ids,
    })
}

/// Whether an image is for Linux on `wanted`, or on whatever it says.
pub(crate) fn check_platform(config: &ImageConfig, wanted: Option<Architecture>) -> Result<()> {
    let ImageConfig { architecture, os, .. } = config;
    let found = format!("{}/{}", or_unset(os), or_unset(architecture));
    let wanted = match wanted {
        Some(wanted) => wanted.as_str(),
        None => architecture,
    };
    ensure!(
        os == "linux" && architecture == wanted,
        "it is for {found}, wanted is linux/{wanted}; choose another image, or --arch"
    );
    Ok(())
}

fn or_unset(text: &str) -> &str {
    if text.is_empty() { "(unset)" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = r#""rootfs": {"type": "layers", "diff_ids": []}"#;

    fn config(text: &str) -> Result<ImageConfig, String> {
        parse(text.as_bytes(), 0).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn docker_s_ways_to_say_nothing_are_understood() {
        let null = config(&format!(
            r#"{{"architecture": "amd64", "os": "linux", "config": {{"Entrypoint": null, "Cmd": "/bin/sh", "Env": null,
                "Volumes": null, "Labels": null, "User": "", "WorkingDir": "", "StopSignal": "",
                "ExposedPorts": {{}}, "OnBuild": null, "Unknown": [1]}}, "container_config": {{}}, {NONE}}}"#
        ))
        .unwrap();
        let expected = ImageConfig {
            architecture: "amd64".into(),
            os: "linux".into(),
            cmd: vec!["/bin/sh".into()],
            ..ImageConfig::default()
        };
        assert_eq!(null, expected);
        assert_eq!(config(&format!("{{\"config\": null, {NONE}}}")).unwrap(), ImageConfig::default());
        assert_eq!(config(&format!("{{{NONE}}}")).unwrap(), ImageConfig::default());
    }

    #[test]
    fn all_that_is_used_is_read() {
        let full = config(&format!(
            r#"{{"architecture": "arm64", "variant": "v8", "os": "linux", "config": {{"Entrypoint": ["/e", "1"],
                "Cmd": ["2"], "Env": ["B=1", "A=2"], "User": "1:2", "WorkingDir": "/w", "StopSignal": "SIGQUIT",
                "Volumes": {{"/z": {{}}, "/data": null}}, "Labels": {{"k": "v"}}}}, {NONE}}}"#
        ))
        .unwrap();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let expected = ImageConfig {
            architecture: "arm64".into(),
            variant: Some("v8".into()),
            os: "linux".into(),
            entrypoint: words(&["/e", "1"]),
            cmd: words(&["2"]),
            env: words(&["B=1", "A=2"]),
            user: "1:2".into(),
            working_dir: "/w".into(),
            stop_signal: Some("SIGQUIT".into()),
            volumes: words(&["/data", "/z"]),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            diff_ids: vec![],
        };
        assert_eq!(full, expected);
    }

    #[test]
    fn what_is_no_configuration_says_why() {
        let error = parse(format!("{{{NONE}}}").as_bytes(), 2).unwrap_err().to_string();
        assert_eq!(error, "it has 0 diff_ids and the image 2 layers; they must be as many");
        assert_eq!(config("{}"), Err("missing field `rootfs` at line 1 column 2".to_owned()));
        assert_eq!(
            config(r#"{"rootfs": {"type": "windows", "diff_ids": []}}"#),
            Err("its root file system has the type \"windows\"; only \"layers\" is known".to_owned())
        );
        let amd64 = Some("amd64".parse().unwrap());
        let arm = ImageConfig { architecture: "arm64".into(), os: "linux".into(), ..ImageConfig::default() };
        assert_eq!(
            check_platform(&arm, amd64).unwrap_err().to_string(),
            "it is for linux/arm64, wanted is linux/amd64; choose another image, or --arch"
        );
        assert_eq!(
            check_platform(&ImageConfig::default(), amd64).unwrap_err().to_string(),
            "it is for (unset)/(unset), wanted is linux/amd64; choose another image, or --arch"
        );
    }
}

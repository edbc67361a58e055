//! `hearth model inspect`: what a model folder holds, part by part.

use std::path::Path;

use crate::config::Config;
use crate::failure::Failure;
use crate::model::manifest::Folder;
use crate::onnx::{self, Graph, Options, Port};
use crate::terminal::line;

/// Prints inputs, outputs, element types, precision and bytes of every part of the folder.
///
/// # Errors
/// When the folder or one of its graphs cannot be read.
pub fn run(config: &Config, dir: &Path) -> Result<(), Failure> {
    onnx::init(&config.runtime.onnxruntime)?;
    let folder = Folder::read(dir)?;
    let manifest = &folder.manifest;
    line(format_args!("{}: {}", manifest.name, manifest.source))?;
    line(format_args!("layout {:?}, kv {:?}, {} rows of context", manifest.layout, manifest.kv, manifest.max_context))?;
    for (name, part) in &manifest.parts {
        let path = folder.dir.join(&part.file);
        line(format_args!("\n{name}  {}  {} bytes  {}", part.precision, bytes_of(&path), part.file.display()))?;
        let graph = Graph::open(&path, Options { threads: 1, spin: false })?;
        print_ports("in ", graph.inputs())?;
        print_ports("out", graph.outputs())?;
    }
    Ok(())
}

/// Bytes of a graph and of the data files that it names. Two graphs may share one.
fn bytes_of(path: &Path) -> u64 {
    let Ok(graph) = std::fs::read(path) else { return 0 };
    let entries = path.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let data = entries.into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        !name.ends_with(b".onnx") && graph.windows(name.len()).any(|window| window == name)
    });
    graph.len() as u64 + data.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum::<u64>()
}

/// One line a port; the many keys and values are counted, with the first and last shown.
fn print_ports(side: &str, ports: &[Port]) -> Result<(), Failure> {
    let is_kv = |port: &&Port| port.name.starts_with("past_key_values.") || port.name.starts_with("present.");
    for port in ports.iter().filter(|port| !is_kv(port)) {
        line(format_args!("  {side}  {:<24} {port}", port.name))?;
    }
    let kv: Vec<&Port> = ports.iter().filter(is_kv).collect();
    if let (Some(first), Some(last)) = (kv.first(), kv.last()) {
        line(format_args!("  {side}  {} keys and values, {} {first} .. {} {last}", kv.len(), first.name, last.name))?;
    }
    Ok(())
}

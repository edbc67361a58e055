//! The only file that imports `ort`: opens ONNX Runtime and its graphs, checks names, element types and ranks, runs
//! graphs and binds buffers. Knows nothing of what the graphs mean. Runs on whichever thread owns the [`Graph`].

mod library;
mod rows;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use half::f16;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, SessionOutputs};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, ValueType};
use thiserror::Error;

pub use ort::session::Session;

/// ort's own initialisation never returns when the library cannot be opened, so it is given this long.
const INIT_LIMIT: Duration = Duration::from_secs(20);

/// Environment variable that keeps ONNX Runtime from collecting events about its use and sending them to its makers.
/// Seen in 1.31.1: without it, opening the library makes `~/.cache/Microsoft`; its own API for that changes nothing.
pub const REPORTING_SWITCH: &str = "ORT_DISABLE_TELEMETRY";

/// Is ONNX Runtime kept from reporting? Must be so before [`init`].
pub fn reporting_is_off() -> bool {
    std::env::var_os(REPORTING_SWITCH).is_some_and(|value| !value.is_empty())
}

/// What goes wrong with ONNX Runtime, told apart by remedy.
#[derive(Debug, Clone, Error)]
pub enum OnnxError {
    /// The shared library is missing, damaged or too old: install it.
    #[error("ONNX Runtime at {}: {reason}", path.display())]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A graph cannot be opened: fetch or build the model again.
    #[error("graph {}: {reason}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A graph has other inputs or outputs than asked for: it is another kind of model.
    #[error("graph {}: `{name}` should be {expected}, found {found}", path.display())]
    Contract {
        /// The file.
        path: PathBuf,
        /// Input or output.
        name: String,
        /// What hearth needs.
        expected: String,
        /// What the graph declares.
        found: String,
    },
    /// A run was cancelled from outside.
    #[error("cancelled")]
    Interrupted,
    /// A run failed.
    #[error("ONNX Runtime: {0}")]
    Run(String),
}

impl OnnxError {
    fn run<R>(error: ort::Error<R>) -> Self {
        Self::Run(error.to_string())
    }
}

/// Opens ONNX Runtime's shared library, once per process. Later calls return the first result.
///
/// # Errors
/// [`OnnxError::Library`] when the file is missing, is no ONNX Runtime for this machine, is truncated or too old.
pub fn init(library: &Path) -> Result<(), OnnxError> {
    static RESULT: OnceLock<Result<(), OnnxError>> = OnceLock::new();
    RESULT.get_or_init(|| open_library(library)).clone()
}

/// Looks at the library file without opening it.
///
/// # Errors
/// As [`init`].
pub fn examine(library: &Path) -> Result<(), OnnxError> {
    let looked = std::fs::read(library).map_err(|e| e.to_string()).and_then(|bytes| library::check(&bytes));
    looked.map_err(|reason| OnnxError::Library { path: library.to_path_buf(), reason })
}

fn open_library(library: &Path) -> Result<(), OnnxError> {
    examine(library)?;
    let fail = |reason: String| OnnxError::Library { path: library.to_path_buf(), reason };
    let path = std::path::absolute(library).map_err(|e| fail(e.to_string()))?;
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || {
        let opened = ort::init_from(&path).map(|env| env.commit()).map_err(|e| e.to_string());
        // The receiver is gone only after the limit, when the answer no longer matters.
        let _ = done.send(opened);
    });
    match result.recv_timeout(INIT_LIMIT) {
        Ok(opened) => opened.map(|_| ()).map_err(fail),
        Err(_) => Err(fail("could not be opened (a library it depends on is missing?)".into())),
    }
}

/// Stops a run from another thread: a flag that loops ask, and ONNX Runtime's own termination for a long run.
pub struct Interrupt {
    raised: AtomicBool,
    options: RunOptions<NoSelectedOutputs>,
}

impl Interrupt {
    /// A fresh one, not raised.
    ///
    /// # Errors
    /// When ONNX Runtime cannot make run options.
    pub fn new() -> Result<Self, OnnxError> {
        Ok(Self { raised: AtomicBool::new(false), options: RunOptions::new().map_err(OnnxError::run)? })
    }

    /// Stops what runs under it now and refuses what would start.
    pub fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        if let Err(error) = self.options.terminate() {
            tracing::warn!(%error, "could not terminate a run");
        }
    }

    /// Makes it usable again.
    pub fn clear(&self) {
        if let Err(error) = self.options.unterminate() {
            tracing::warn!(%error, "could not reset run options");
        }
        self.raised.store(false, Ordering::SeqCst);
    }

    /// Was it raised?
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }
}

/// Element type of a tensor, as far as hearth's graphs use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// Boolean.
    Bool,
    /// Anything else.
    Other,
}

impl From<TensorElementType> for Dtype {
    fn from(ty: TensorElementType) -> Self {
        match ty {
            TensorElementType::Float32 => Self::F32,
            TensorElementType::Float16 => Self::F16,
            TensorElementType::Int64 => Self::I64,
            TensorElementType::Int32 => Self::I32,
            TensorElementType::Bool => Self::Bool,
            _ => Self::Other,
        }
    }
}

/// An input or output that a graph declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, -1 where any length goes.
    pub shape: Vec<i64>,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> =
            self.shape.iter().map(|&d| if d < 0 { "?".to_owned() } else { d.to_string() }).collect();
        write!(f, "{:?} [{}]", self.dtype, dims.join(", "))
    }
}

/// A tensor in ONNX Runtime's memory.
#[derive(Debug)]
pub struct Tensor(DynValue);

impl Tensor {
    /// A float tensor from its elements in row order. An empty one may have a dimension of zero.
    ///
    /// # Errors
    /// When the number of elements does not fit the shape.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Result<Self, OnnxError> {
        if data.is_empty() {
            return Self::zeros(Dtype::F32, shape);
        }
        ort::value::Tensor::from_array((shape.to_vec(), data)).map(|t| Self(t.into_dyn())).map_err(OnnxError::run)
    }

    /// Integers as i64 or i32.
    ///
    /// # Errors
    /// When `dtype` is no integer type, or the number of elements does not fit the shape.
    pub fn ints(dtype: Dtype, shape: &[usize], data: impl Iterator<Item = i64>) -> Result<Self, OnnxError> {
        match dtype {
            Dtype::I64 => ort::value::Tensor::from_array((shape.to_vec(), data.collect::<Vec<i64>>()))
                .map(|t| Self(t.into_dyn()))
                .map_err(OnnxError::run),
            Dtype::I32 => {
                ort::value::Tensor::from_array((shape.to_vec(), data.map(|v| v as i32).collect::<Vec<i32>>()))
                    .map(|t| Self(t.into_dyn()))
                    .map_err(OnnxError::run)
            }
            other => Err(OnnxError::Run(format!("{other:?} is no integer type"))),
        }
    }

    /// One integer without dimensions.
    ///
    /// # Errors
    /// As [`Tensor::ints`].
    pub fn int(dtype: Dtype, value: i64) -> Result<Self, OnnxError> {
        Self::ints(dtype, &[], std::iter::once(value))
    }

    /// `n` true flags of shape [1, n], in the element type that a graph wants for its mask.
    ///
    /// # Errors
    /// When the type holds no flags.
    pub fn ones(dtype: Dtype, n: usize) -> Result<Self, OnnxError> {
        match dtype {
            Dtype::Bool => ort::value::Tensor::from_array(([1, n], vec![true; n]))
                .map(|t| Self(t.into_dyn()))
                .map_err(OnnxError::run),
            Dtype::F32 => Self::f32(&[1, n], vec![1.0; n]),
            _ => Self::ints(dtype, &[1, n], std::iter::repeat_n(1, n)),
        }
    }

    /// A tensor of zeros; a dimension may be zero. A large one of F32 takes memory only where something is written: the
    /// allocator has zeros from the kernel.
    ///
    /// # Errors
    /// When `dtype` is neither F32 nor F16.
    pub fn zeros(dtype: Dtype, shape: &[usize]) -> Result<Self, OnnxError> {
        fn filled<T: PrimitiveTensorElementType + Clone + fmt::Debug + 'static>(
            shape: &[usize],
            zero: T,
        ) -> Result<Tensor, OnnxError> {
            let n = shape.iter().product();
            let tensor = match n {
                0 => ort::value::Tensor::<T>::new(&Allocator::default(), shape),
                _ => ort::value::Tensor::from_array((shape.to_vec(), vec![zero; n])),
            };
            tensor.map(|tensor| Tensor(tensor.into_dyn())).map_err(OnnxError::run)
        }
        match dtype {
            Dtype::F32 => filled(shape, 0_f32),
            Dtype::F16 => filled(shape, f16::ZERO),
            other => Err(OnnxError::Run(format!("no zeros of {other:?}"))),
        }
    }

    /// Dimensions.
    pub fn shape(&self) -> Vec<usize> {
        match self.0.dtype() {
            ValueType::Tensor { shape, .. } => shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect(),
            _ => Vec::new(),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        match self.0.dtype() {
            ValueType::Tensor { ty, .. } => (*ty).into(),
            _ => Dtype::Other,
        }
    }

    /// The elements of a float tensor in row order.
    ///
    /// # Errors
    /// When it holds another type.
    pub fn as_f32(&self) -> Result<&[f32], OnnxError> {
        self.0.try_extract_tensor::<f32>().map(|(_, data)| data).map_err(OnnxError::run)
    }

    /// The elements of an F32 or F16 tensor as floats.
    ///
    /// # Errors
    /// When it holds another type.
    pub fn to_f32(&self) -> Result<Vec<f32>, OnnxError> {
        match self.dtype() {
            Dtype::F16 => self
                .0
                .try_extract_tensor::<f16>()
                .map(|(_, data)| data.iter().map(|v| v.to_f32()).collect())
                .map_err(OnnxError::run),
            _ => self.as_f32().map(<[f32]>::to_vec),
        }
    }

    /// The last `n` elements of an F32 or F16 tensor as floats, without touching the others.
    ///
    /// # Errors
    /// When it holds another type or fewer elements.
    pub fn last(&self, n: usize) -> Result<Vec<f32>, OnnxError> {
        fn tail<T>(data: &[T], n: usize) -> Result<&[T], OnnxError> {
            let at = data.len().checked_sub(n);
            at.map(|at| &data[at..]).ok_or_else(|| OnnxError::Run(format!("{} numbers where {n} are due", data.len())))
        }
        match self.dtype() {
            Dtype::F16 => {
                let data = self.0.try_extract_tensor::<f16>().map_err(OnnxError::run)?.1;
                Ok(tail(data, n)?.iter().map(|v| v.to_f32()).collect())
            }
            _ => Ok(tail(self.as_f32()?, n)?.to_vec()),
        }
    }

    /// A second handle to the same memory.
    ///
    /// # Errors
    /// When the memory is only borrowed.
    fn share(&self) -> Result<DynValue, OnnxError> {
        self.0.view().try_upgrade().map_err(|_| OnnxError::Run("a borrowed tensor cannot be shared".into()))
    }
}

/// Outputs of a run by name.
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    fn collect(outputs: SessionOutputs<'_>) -> Self {
        let names: Vec<String> = outputs.keys().map(str::to_owned).collect();
        let mut outputs = outputs;
        Self(names.into_iter().filter_map(|name| outputs.remove(&name).map(|v| (name, Tensor(v)))).collect())
    }

    /// Takes one out.
    ///
    /// # Errors
    /// When there is none of that name (a contract check at load rules this out).
    pub fn take(&mut self, name: &str) -> Result<Tensor, OnnxError> {
        match self.0.iter().position(|(n, _)| n == name) {
            Some(at) => Ok(self.0.swap_remove(at).1),
            None => Err(OnnxError::Run(format!("no output `{name}`"))),
        }
    }
}

/// How a graph is opened.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads inside one operator.
    pub threads: usize,
    /// Do threads spin while they wait for work within a run? Between runs they never do.
    pub spin: bool,
}

/// A graph, open.
#[derive(Debug)]
pub struct Graph {
    path: PathBuf,
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// A session as piper-rs wants it: few threads, no spinning.
///
/// # Errors
/// [`OnnxError::Graph`] when the file is missing or no graph.
pub fn open_session(path: &Path, threads: usize) -> Result<Session, OnnxError> {
    open(path, Options { threads, spin: false })
}

/// Version and build of ONNX Runtime, which must be open.
pub fn build() -> &'static str {
    ort::info()
}

/// Opens a graph and writes it to `to`, with its weights beside it in the form that this processor's kernels want.
///
/// # Errors
/// [`OnnxError::Graph`] when it cannot be opened or written.
pub fn write_prepacked(path: &Path, to: &Path, options: Options) -> Result<(), OnnxError> {
    let fail = |reason: String| OnnxError::Graph { path: path.to_path_buf(), reason };
    let data = to.file_name().map(|name| format!("{}_data", name.to_string_lossy())).unwrap_or_default();
    let built = || -> Result<Session, String> {
        Session::builder()
            .map_err(|e| e.to_string())?
            .with_intra_threads(options.threads.max(1))
            .map_err(|e| e.to_string())?
            .with_optimized_model_path(to)
            .map_err(|e| e.to_string())?
            .with_config_entry("session.save_external_prepacked_constant_initializers", "1")
            .map_err(|e| e.to_string())?
            .with_config_entry("session.optimized_model_external_initializers_file_name", data)
            .map_err(|e| e.to_string())?
            .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
            .map_err(|e| e.to_string())?
            .commit_from_file(path)
            .map_err(|e| e.to_string())
    };
    built().map(|_| ()).map_err(fail)
}

fn open(path: &Path, options: Options) -> Result<Session, OnnxError> {
    let fail = |reason: String| OnnxError::Graph { path: path.to_path_buf(), reason };
    // ort reports a missing file in words of its own; say it plainly.
    std::fs::metadata(path).map_err(|e| fail(e.to_string()))?;
    let built = || -> Result<Session, String> {
        Session::builder()
            .map_err(|e| e.to_string())?
            .with_intra_threads(options.threads.max(1))
            .map_err(|e| e.to_string())?
            .with_intra_op_spinning(options.spin)
            .map_err(|e| e.to_string())?
            // Between runs nobody spins: while somebody speaks a run comes every 0.3 s, and threads that spun until then
            // took ten times the processor time of the work itself.
            .with_config_entry("session.force_spinning_stop", "1")
            .map_err(|e| e.to_string())?
            .commit_from_file(path)
            .map_err(|e| e.to_string())
    };
    built().map_err(|e| fail(e.lines().next().unwrap_or_default().to_owned()))
}

impl Graph {
    /// Opens a graph by path, since its external data lies beside it.
    ///
    /// # Errors
    /// [`OnnxError::Graph`] when it is missing, damaged, or its external data is.
    pub fn open(path: &Path, options: Options) -> Result<Self, OnnxError> {
        let session = open(path, options)?;
        let ports = |outlets: &[ort::value::Outlet]| outlets.iter().map(port).collect();
        let (inputs, outputs) = (ports(session.inputs()), ports(session.outputs()));
        Ok(Self { path: path.to_path_buf(), session, inputs, outputs })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it takes.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it gives.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The input of that name, if declared.
    pub fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|p| p.name == name)
    }

    /// The input of that name, with one of these element types and that rank.
    ///
    /// # Errors
    /// [`OnnxError::Contract`].
    pub fn require_input(&self, name: &str, dtypes: &[Dtype], rank: usize) -> Result<&Port, OnnxError> {
        self.require(&self.inputs, name, dtypes, rank)
    }

    /// The output of that name, with one of these element types and that rank.
    ///
    /// # Errors
    /// [`OnnxError::Contract`].
    pub fn require_output(&self, name: &str, dtypes: &[Dtype], rank: usize) -> Result<&Port, OnnxError> {
        self.require(&self.outputs, name, dtypes, rank)
    }

    fn require<'a>(&self, ports: &'a [Port], name: &str, dtypes: &[Dtype], rank: usize) -> Result<&'a Port, OnnxError> {
        let expected = || {
            let types: Vec<String> = dtypes.iter().map(|d| format!("{d:?}")).collect();
            format!("{} of rank {rank}", types.join(" or "))
        };
        let found = ports.iter().find(|p| p.name == name);
        match found {
            Some(port) if dtypes.contains(&port.dtype) && port.shape.len() == rank => Ok(port),
            _ => Err(self.contract(name, expected(), found.map_or("nothing".to_owned(), Port::to_string))),
        }
    }

    /// Checks that the graph takes nothing but what `known` names: an input that is never fed fails every run.
    ///
    /// # Errors
    /// [`OnnxError::Contract`].
    pub fn require_no_input_but(&self, known: impl Fn(&str) -> bool) -> Result<(), OnnxError> {
        match self.inputs.iter().find(|port| !known(&port.name)) {
            Some(port) => Err(self.contract(&port.name, "no such input", port.to_string())),
            None => Ok(()),
        }
    }

    /// A contract error of this graph.
    pub fn contract(&self, name: &str, expected: impl Into<String>, found: impl Into<String>) -> OnnxError {
        OnnxError::Contract {
            path: self.path.clone(),
            name: name.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// Runs the graph on inputs by name. Outputs are allocated by ONNX Runtime.
    ///
    /// # Errors
    /// [`OnnxError::Interrupted`] when `interrupt` was raised, else [`OnnxError::Run`].
    pub fn run(&mut self, inputs: &[(&str, &Tensor)], interrupt: &Interrupt) -> Result<Outputs, OnnxError> {
        let inputs: Vec<(&str, &DynValue)> = inputs.iter().map(|(name, tensor)| (*name, &tensor.0)).collect();
        let result = self.session.run_with_options(inputs, &interrupt.options);
        result.map(Outputs::collect).map_err(|e| failed(&e, interrupt))
    }

    /// An empty binding for this graph.
    ///
    /// # Errors
    /// When ONNX Runtime refuses.
    pub fn bind(&self) -> Result<Binding, OnnxError> {
        self.session.create_binding().map(Binding).map_err(OnnxError::run)
    }

    /// Runs the graph on bound inputs and outputs.
    ///
    /// # Errors
    /// As [`Graph::run`].
    pub fn run_bound(&mut self, binding: &Binding, interrupt: &Interrupt) -> Result<Outputs, OnnxError> {
        let result = self.session.run_binding_with_options(&binding.0, &interrupt.options);
        result.map(Outputs::collect).map_err(|e| failed(&e, interrupt))
    }
}

fn failed(error: &ort::Error, interrupt: &Interrupt) -> OnnxError {
    if interrupt.is_raised() { OnnxError::Interrupted } else { OnnxError::Run(error.to_string()) }
}

fn port(outlet: &ort::value::Outlet) -> Port {
    let (dtype, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => ((*ty).into(), shape.to_vec()),
        _ => (Dtype::Other, Vec::new()),
    };
    Port { name: outlet.name().to_owned(), dtype, shape }
}

/// Inputs and outputs of a graph that stay bound from run to run.
#[derive(Debug)]
pub struct Binding(IoBinding);

impl Binding {
    /// Binds an input, replacing what was bound to that name.
    ///
    /// # Errors
    /// When the graph has no such input.
    pub fn input(&mut self, name: &str, tensor: &Tensor) -> Result<(), OnnxError> {
        self.0.bind_input(name, &tensor.0).map_err(OnnxError::run)
    }

    /// Lets the graph write an output into the memory of `tensor`, which may be bound as an input too.
    ///
    /// # Errors
    /// When the graph has no such output.
    pub fn output_into(&mut self, name: &str, tensor: &Tensor) -> Result<(), OnnxError> {
        self.0.bind_output(name, tensor.share()?).map_err(OnnxError::run)
    }

    /// Lets ONNX Runtime allocate an output anew in each run.
    ///
    /// # Errors
    /// When the graph has no such output.
    pub fn output(&mut self, name: &str) -> Result<(), OnnxError> {
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput);
        memory.and_then(|memory| self.0.bind_output_to_device(name, &memory)).map_err(OnnxError::run)
    }
}

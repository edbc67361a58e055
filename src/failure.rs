//! How the program ends when something is wrong: one line and an exit code.

use thiserror::Error;

/// Exit code: wrong use of the command line.
pub const USAGE: u8 = 64;
/// Exit code: not audio, or damaged data.
pub const BAD_DATA: u8 = 65;
/// Exit code: a file that cannot be read.
pub const UNREADABLE: u8 = 66;
/// Exit code: model, voice, runtime or device missing.
pub const UNAVAILABLE: u8 = 69;
/// Exit code: a thread of the daemon ended by itself.
pub const LOST_THREAD: u8 = 71;
/// Exit code: a failure inside.
pub const INTERNAL: u8 = 70;
/// Exit code: a file that cannot be written.
pub const UNWRITABLE: u8 = 73;
/// Exit code: configuration.
pub const CONFIG: u8 = 78;

/// An error that ends the program, with its exit code (sysexits.h).
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// One line.
    pub message: String,
}

impl Failure {
    /// A failure with this code.
    pub fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// Failures of the modules below the rim: which code goes with which remedy.
mod codes {
    use super::{BAD_DATA, CONFIG, Failure, INTERNAL, UNAVAILABLE, UNREADABLE, UNWRITABLE, USAGE};
    use crate::audio::playback::PlayError;
    use crate::audio::wav::AudioError;
    use crate::config::ConfigError;
    use crate::control::ControlError;
    use crate::eval::EvalError;
    use crate::home::HomeError;
    use crate::home::timers::StoreError;
    use crate::model::ModelError;
    use crate::model::manifest::FolderError;
    use crate::onnx::OnnxError;
    use crate::speech::SpeechError;

    impl From<ConfigError> for Failure {
        fn from(error: ConfigError) -> Self {
            Self::new(CONFIG, error)
        }
    }

    impl From<AudioError> for Failure {
        fn from(error: AudioError) -> Self {
            let code = match error {
                AudioError::Unreadable { .. } => UNREADABLE,
                AudioError::NotAudio { .. } => BAD_DATA,
                AudioError::Unwritable { .. } => UNWRITABLE,
            };
            Self::new(code, error)
        }
    }

    impl From<OnnxError> for Failure {
        fn from(error: OnnxError) -> Self {
            Self::new(onnx_code(&error), error)
        }
    }

    impl From<FolderError> for Failure {
        fn from(error: FolderError) -> Self {
            Self::new(UNAVAILABLE, error)
        }
    }

    impl From<&ModelError> for Failure {
        fn from(error: &ModelError) -> Self {
            let code = match error {
                ModelError::Onnx(error) => onnx_code(error),
                ModelError::Folder(_) | ModelError::Tokenizer(_) | ModelError::Description { .. } => UNAVAILABLE,
                ModelError::ReadsNoText => USAGE,
                _ => INTERNAL,
            };
            Self::new(code, error)
        }
    }

    impl From<ModelError> for Failure {
        fn from(error: ModelError) -> Self {
            (&error).into()
        }
    }

    fn onnx_code(error: &OnnxError) -> u8 {
        match error {
            OnnxError::Library { .. } | OnnxError::Graph { .. } | OnnxError::Contract { .. } => UNAVAILABLE,
            OnnxError::Interrupted | OnnxError::Run(_) => INTERNAL,
        }
    }

    impl From<SpeechError> for Failure {
        fn from(error: SpeechError) -> Self {
            let code = match error {
                SpeechError::NoSpeaker { .. } => CONFIG,
                SpeechError::Sentence { .. } => INTERNAL,
                _ => UNAVAILABLE,
            };
            Self::new(code, error)
        }
    }

    impl From<PlayError> for Failure {
        fn from(error: PlayError) -> Self {
            Self::new(UNAVAILABLE, format!("{error}; --out FILE writes the sound instead"))
        }
    }

    impl From<EvalError> for Failure {
        fn from(error: EvalError) -> Self {
            let code = if matches!(error, EvalError::BadLabels { .. }) { BAD_DATA } else { UNREADABLE };
            Self::new(code, error)
        }
    }

    impl From<ControlError> for Failure {
        fn from(error: ControlError) -> Self {
            let code = match &error {
                ControlError::NotASocket(_) | ControlError::NoGroup(_) => CONFIG,
                ControlError::Refused { code: Some(code), .. } => *code,
                _ => UNAVAILABLE,
            };
            Self::new(code, error)
        }
    }

    impl From<StoreError> for Failure {
        fn from(error: StoreError) -> Self {
            Self::new(UNWRITABLE, error)
        }
    }

    impl From<HomeError> for Failure {
        fn from(error: HomeError) -> Self {
            Self::new(CONFIG, error)
        }
    }
}

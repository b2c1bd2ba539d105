//! Names that no file of weights has a reason to hold.
//!
//! Nothing here is needed for safety, since nothing is ever called. The list is what tells the user that a file was made
//! to attack the programs that do call. It is about modules that reach the system, run code, open connections or unpack
//! further pickles, and about the few builtins that do not.

/// Modules of which every name is refused, with all their submodules.
const MODULES: &str = "\
    _io _pickle _posixsubprocess _socket _thread _winapi aiohttp antigravity asyncio asyncore atexit bdb \
    cffi cloudpickle code codeop commands concurrent cPickle cProfile ctypes dill distutils doctest \
    ensurepip faulthandler fileinput ftplib gc getpass glob http httplib httpx idlelib imaplib imp importlib \
    inspect io ipykernel IPython joblib linecache mailcap marshal mmap msvcrt multiprocessing nntplib nt \
    ntpath operator _operator os pdb pexpect pickle pickletools pip pkg_resources pkgutil platform poplib \
    popen2 posix posixpath profile pty pydoc requests resource rlcompleter runpy select setuptools shelve \
    shutil signal site smtplib socket socketserver sqlite3 ssl subprocess symtable sys sysconfig tarfile \
    telnetlib tempfile thread threading timeit tkinter trace traceback types urllib urllib2 urllib3 venv \
    webbrowser winreg xmlrpc zipapp zipfile zipimport numpy.testing numpy.f2py numpy.distutils \
    numpy.ctypeslib torch.hub torch.package torch.utils.cpp_extension torch.utils.bottleneck torch._inductor \
    torch.fx torch.serialization torch.distributed.rpc torch.jit.unsupported_tensor_ops";

/// Modules of which only the names in [`BUILTINS`] are read.
const BUILTIN_MODULES: [&str; 2] = ["builtins", "__builtin__"];

/// Builtins that only hold data.
const BUILTINS: &str = "\
    bool bytearray bytes complex dict float frozenset int list long object range set slice tuple type str unicode basestring xrange";

/// Names refused in whatever module they are looked up: `torch.load`, `numpy.load`, `pandas.eval`, ….
const NAMES: &str = "\
    eval exec execfile system popen load loads __import__ getattr";

/// Whether `module.name` is one to refuse. Dotted names (protocol 4 looks up each part) are judged by every part.
pub(super) fn is_forbidden(module: &str, name: &str) -> bool {
    let listed = |list: &str, word: &str| list.split_ascii_whitespace().any(|w| w == word);
    let within = |root: &str| {
        module
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if MODULES.split_ascii_whitespace().any(within) {
        return true;
    }
    let dotted = name.contains('.');
    let mut parts = name.split('.');
    if BUILTIN_MODULES.contains(&module) {
        return !parts.all(|part| listed(BUILTINS, part));
    }
    parts.any(|part| {
        listed(NAMES, part)
            || (part.starts_with("__") && part.ends_with("__"))
            || (dotted && listed(MODULES, part))
    })
}

#[cfg(test)]
mod tests {
    use super::is_forbidden;

    #[test]
    fn weights_pass_and_attacks_do_not() {
        for (module, name) in [
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch", "FloatStorage"),
            ("collections", "OrderedDict"),
            ("numpy.core.multiarray", "scalar"),
            ("_codecs", "encode"),
            ("__builtin__", "set"),
            (
                "pytorch_lightning.callbacks.model_checkpoint",
                "ModelCheckpoint",
            ),
            ("ossaudio", "x"),
            ("pathlib", "PosixPath"),
            ("builtins", "int"),
        ] {
            assert!(!is_forbidden(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("os.path", "join"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("builtins", "object.__subclasses__"),
            ("torch", "load"),
            ("torch", "os.system"),
            ("torch.serialization", "os"),
            ("builtins", "type.mro"),
            ("numpy.testing._private.utils", "runstring"),
            ("collections", "__builtins__"),
        ] {
            assert!(is_forbidden(module, name), "{module}.{name}");
        }
    }
}

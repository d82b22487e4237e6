// What changes from one run of a program to the next. One uniform buffer, shared by all kernels of a model.
struct Step {
    // Position in the context of the first token of this run.
    position: u32,
    // How many tokens this run processes.
    tokens: u32,
}

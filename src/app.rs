//! The list of parts, and how they are put together. Everything that can be refused is refused before a port opens.

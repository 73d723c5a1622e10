"""The generated stubs of package llamawire.v1, one module a .proto. Written by `make stubs`; never by hand."""

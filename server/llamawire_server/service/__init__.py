"""What the server can do, apart from any transport: the RPCs' meaning, shared by gRPC and HTTP."""

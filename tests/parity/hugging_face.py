"""Names of the encoder's parameters in Hugging Face's implementation, written apart from the reader under test."""


def hugging_face_name(name: str) -> str:
    """The name of one of our parameters in `Sam2VisionModel`."""
    if name.startswith("neck."):
        return name.replace(".conv.", ".")
    for ours, theirs in (
        ("trunk.", "backbone."),
        ("patch_embed.proj.", "patch_embed.projection."),
        (".norm", ".layer_norm"),
        (".mlp.layers.0.", ".mlp.proj_in."),
        (".mlp.layers.1.", ".mlp.proj_out."),
    ):
        name = name.replace(ours, theirs)
    return name

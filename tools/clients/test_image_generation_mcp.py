"""A1111's interface through image-generation-mcp (PyPI), unchanged: as a library, and as the server of tools that assistants speak to.

It draws at least 768x512 with 30 steps, whatever the model: so it draws with the smallest model that the service lists.
"""
import asyncio
import io
import json
import sys
import tempfile
import unittest

from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from image_generation_mcp.providers.sd_webui import SdWebuiImageProvider
from image_generation_mcp.providers.types import ImageProviderError, InputImage
from PIL import Image

from common import get, gradient, main, png, url

WIDE = (768, 512)


def smallest():
    """The title of the smallest model."""
    models = get("/api/v1/models")["models"]
    name = min(models, key=lambda model: model["size"])["name"]
    return next(model["title"] for model in get("/sdapi/v1/sd-models") if model["filename"] == name)


class Library(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.provider = SdWebuiImageProvider(url())

    async def asyncTearDown(self):
        await self.provider.aclose()

    async def test_models_are_found(self):
        found = await self.provider.discover_capabilities()
        self.assertFalse(found.degraded)
        self.assertEqual({model.model_id for model in found.models}, {model["title"] for model in get("/sdapi/v1/sd-models")})

    async def test_a_picture_by_the_model_of_that_title(self):
        told = []
        drawn = await self.provider.generate("a red apple", aspect_ratio="3:2", negative_prompt="blurry", model=smallest(),
                                             progress_callback=lambda share, message: told.append((share, message)))
        picture = Image.open(io.BytesIO(drawn.image_data))
        self.assertEqual(picture.size, WIDE)
        self.assertIn("Sampler: DPM++ 2M, Schedule type: Karras", picture.info["parameters"])
        self.assertGreaterEqual(drawn.provider_metadata["seed"], 0)
        self.assertTrue(told and all(0 <= share <= 1 for share, _ in told), told)

    async def test_a_picture_from_a_picture(self):
        given = InputImage(png(gradient(*WIDE)))
        drawn = await self.provider.generate("a red apple", aspect_ratio="3:2", model=smallest(), reference_images=[given], strength=0.2)
        picture = Image.open(io.BytesIO(drawn.image_data))
        self.assertEqual(picture.size, WIDE)
        self.assertIn("Denoising strength: 0.2", picture.info["parameters"])
        self.assertTrue(drawn.provider_metadata["edited"])

    async def test_an_unknown_model_is_an_error(self):
        with self.assertRaisesRegex(ImageProviderError, "HTTP 4.*no such model"):
            await self.provider.generate("a", model="no such model")


class Server(unittest.IsolatedAsyncioTestCase):
    async def test_a_tool_draws(self):
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                "IMAGE_GENERATION_MCP_SD_WEBUI_HOST": url(),
                "IMAGE_GENERATION_MCP_READ_ONLY": "false",
                "IMAGE_GENERATION_MCP_SCRATCH_DIR": folder,
                "IMAGE_GENERATION_MCP_STYLES_DIR": folder,
                "HOME": folder,
            }
            server = StdioTransport(sys.executable, ["-m", "image_generation_mcp.cli", "serve"], env=environment)
            async with Client(server) as client:
                fields = {"prompt": "a red apple", "provider": "sd_webui", "aspect_ratio": "3:2", "model": smallest()}
                begun = await client.call_tool("generate_image", fields)
                image = json.loads(begun.content[0].text)["image_id"]
                for _ in range(600):
                    answer = await client.call_tool("check_generation_status", {"image_id": image})
                    state = json.loads(answer.content[0].text)
                    if state["status"] != "generating":
                        break
                    await asyncio.sleep(0.2)
                self.assertEqual(state["status"], "completed", state)


if __name__ == "__main__":
    main(__doc__)

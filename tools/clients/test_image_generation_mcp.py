"""A1111's interface through image-generation-mcp (PyPI), unchanged: as a library, and as the server of tools that assistants speak to.

It chooses steps and sizes by the name of the model: of one called "flux1-schnell", which must be there, 4 steps of 1216x832 without guidance.
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

MODEL, WIDE = "flux1-schnell", (1216, 832)


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
        drawn = await self.provider.generate("a red apple", aspect_ratio="3:2", model=MODEL,
                                             progress_callback=lambda share, message: told.append((share, message)))
        picture = Image.open(io.BytesIO(drawn.image_data))
        self.assertEqual(picture.size, WIDE)
        self.assertIn("Steps: 4, Sampler: Euler, Schedule type: Simple, CFG scale: 1,", picture.info["parameters"])
        self.assertGreaterEqual(drawn.provider_metadata["seed"], 0)
        self.assertTrue(told and all(0 <= share <= 1 for share, _ in told), told)

    async def test_a_picture_from_a_picture(self):
        given = InputImage(png(gradient(*WIDE)))
        drawn = await self.provider.generate("a red apple", aspect_ratio="3:2", model=MODEL, reference_images=[given], strength=0.2)
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
                "FASTMCP_LOG_LEVEL": "ERROR",
            }
            server = StdioTransport(sys.executable, ["-m", "image_generation_mcp.cli", "serve"], env=environment)
            async with Client(server) as client:
                fields = {"prompt": "a red apple", "provider": "sd_webui", "aspect_ratio": "3:2", "model": MODEL}
                begun = await client.call_tool("generate_image", fields)
                image = json.loads(begun.content[0].text)["image_id"]
                for _ in range(600):
                    answer = await client.call_tool("check_generation_status", {"image_id": image})
                    state = json.loads(answer.content[0].text)
                    if state["status"] != "generating":
                        break
                    await asyncio.sleep(0.5)
                self.assertEqual(state["status"], "completed", state)


if __name__ == "__main__":
    main(__doc__)
